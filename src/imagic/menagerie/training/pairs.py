"""Training pairs: a scene and what an edit makes of it, side by side. They differ in the facts that the edit changes.

Edits of all groups take turns, and no scene shows a held-out combination of facts.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from imagic.menagerie.edits import GROUPS, sample_edit
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.latents import encode
from imagic.menagerie.training.shards import SHARD, ShardStore
from imagic.menagerie.training.world import CHUNK, draw

PAIR = 2  # scenes
PAIRS = SHARD // PAIR  # in a shard, unless a store is given another size


def pair(number: int) -> list[Scene]:
    """The source and the truth of a training edit."""
    edit = sample_edit(number // len(GROUPS), GROUPS[number % len(GROUPS)])
    return [edit.source, edit.truth]


def picture_pairs(*, reuse: int, seed: int, device: torch.device | str = "cpu", shard: int = PAIRS) -> ShardStore:
    """Pairs and their pictures (N, 3, 128, 128) in bytes."""

    def make(scenes: list[Scene]) -> Tensor:
        return ((draw(scenes, device) + 1) * 127.5).round().byte()

    return ShardStore(pair, make, views=PAIR, reuse=reuse, seed=seed, shard=shard)


def latent_pairs(
    vae: AutoencoderKL,
    fingerprint: str,
    *,
    reuse: int,
    seed: int,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    shard: int = PAIRS,
) -> ShardStore:
    """Pairs and their latents (N, C, h, w), float16, scaled as the diffusion model is trained.

    fingerprint: of the encoder; shards of another are not taken.
    """

    def make(scenes: list[Scene]) -> Tensor:
        return torch.cat([encode(vae, scenes[i : i + CHUNK], device) for i in range(0, len(scenes), CHUNK)]).half()

    name = f"edits-{fingerprint[:12]}"
    return ShardStore(pair, make, views=PAIR, reuse=reuse, seed=seed, shard=shard, folder=folder, name=name)
