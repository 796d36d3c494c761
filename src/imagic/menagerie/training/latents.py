"""The latents of groups of scenes, and where they show coats: rendered and encoded once."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from imagic.menagerie.facts import NONE, facts
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.coats import coat_share
from imagic.menagerie.training.shards import SHARD, Group, ShardStore
from imagic.menagerie.training.world import CHUNK, draw, world_fingerprint

RARE = ("hat", "scarf", "ball")


def rich_scene(number: int) -> Scene:
    """Of two training scenes the one in which more is worn or lies about: what is rare is learned late."""
    pair = (sample_scene(2 * number), sample_scene(2 * number + 1))
    return max(pair, key=lambda scene: sum(facts(scene)[name] != NONE for name in RARE))


RICH = Group("rich", lambda number: [rich_scene(number)])


def latent_store(
    vae: AutoencoderKL,
    fingerprint: str,
    group: Group = RICH,
    *,
    reuse: int,
    seed: int,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    shard: int | None = None,
    coats: bool = False,
) -> ShardStore:
    """Groups and their latents (N, C, h, w), float16, scaled as the model is trained.

    fingerprint: of the encoder; shards of another, or of another world, are not taken. shard: groups in a shard; None
    for SHARD scenes. coats: one more channel has the share of each cell that shows a coat.
    """
    return ShardStore(
        group.scenes,
        lambda scenes: (encode_with_coats if coats else encode)(vae, scenes, device).half(),
        views=group.views,
        reuse=reuse,
        seed=seed,
        shard=SHARD // group.views if shard is None else shard,
        folder=folder,
        name=f"{'coated-' if coats else ''}latents-{world_fingerprint()}-{fingerprint[:12]}-{group.name}",
    )


def encode_with_coats(vae: AutoencoderKL, scenes: list[Scene], device: torch.device | str) -> Tensor:
    """The latents of any number of scenes and, as one more channel, how much of each cell shows a coat."""
    latents = encode(vae, scenes, device)
    parts = [scenes[first : first + CHUNK] for first in range(0, len(scenes), CHUNK)]
    shares = torch.cat([coat_share(part, latents.shape[-1], device) for part in parts])
    return torch.cat([latents, shares.to(latents)], dim=1)


@torch.no_grad()
def encode(vae: AutoencoderKL, scenes: list[Scene], device: torch.device | str) -> Tensor:
    """The scaled latents of any number of scenes, (N, C, h, w), float32."""
    means = []
    for first in range(0, len(scenes), CHUNK):
        images = draw(scenes[first : first + CHUNK], device).contiguous(memory_format=torch.channels_last)
        # In half the time and to 0.4 % of the latents' deviation, whatever the precision around it.
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            means.append(vae.encode(images.to(vae.dtype)).latent_dist.mean)
    return cast(Tensor, torch.cat(means).float() * vae.config["scaling_factor"]).contiguous()
