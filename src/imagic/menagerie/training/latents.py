"""Training latents: scenes rendered and encoded once, in shards, each used several times.

Drawing and encoding a scene costs about as much as training on it, so a run keeps a window of recent shards and takes
each scene several times, with another caption, other noise and other neighbours. Which scenes a step sees is a function
of its number alone; shards on disk only save time. Scenes come in trios (see world.trio), as the judge needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from imagic.core.files import replacing
from imagic.core.seeds import derive
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.world import CHUNK, VIEWS, draw, trio

SHARD = 341 * VIEWS  # scenes, unless a store is given another size
WINDOW = 24  # shards


@dataclass(frozen=True)
class Shard:
    """Scenes and their latents (N, C, h, w): float16, on the store's device, scaled as the model is trained."""

    scenes: list[Scene]
    latents: Tensor


class LatentStore:
    """The latents of training scenes, by shard.

    reuse: how often a scene is used on average before the window has moved past it. folder: where shards are kept
    (None: nowhere). shard: scenes in a shard, a multiple of 3. all_combinations: of facts, also those that are held out
    from the diffusion model (see sampling.sample_scene). The name of a shard's file says which autoencoder made
    it, how many scenes it holds, and which.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        fingerprint: str,
        *,
        reuse: int,
        seed: int,
        folder: Path | None,
        device: torch.device | str,
        shard: int = SHARD,
        all_combinations: bool = False,
    ) -> None:
        if shard % VIEWS:
            raise ValueError(f"a shard holds whole trios, so {shard} scenes cannot be one")
        self.vae, self.fingerprint, self.folder, self.device = vae, fingerprint, folder, device
        self.reuse, self.seed, self.shard = reuse, seed, shard
        self.held_out = None if all_combinations else False
        self._shards: dict[int, Shard] = {}

    def batch(self, step: int, size: int) -> tuple[list[Scene], Tensor]:
        """The scenes of a step and their latents (size, C, h, w), float32, on the device."""
        return self._take(self._draw(step, size, 1))

    def trios(self, step: int, size: int) -> tuple[list[Scene], Tensor]:
        """Like `batch`, in whole trios: three neighbouring rows are the views of one scene. size: a multiple of 3."""
        firsts = self._draw(step, size // VIEWS, VIEWS) // VIEWS * VIEWS
        return self._take((firsts[:, None] + np.arange(VIEWS)).reshape(-1))

    def _draw(self, step: int, size: int, views: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        newest = step * size * views // (self.shard * self.reuse)
        oldest = max(0, newest - WINDOW + 1)
        for gone in [index for index in self._shards if index < oldest]:
            del self._shards[gone]
        rng = np.random.default_rng(derive(self.seed, f"latents/{step}"))
        return rng.integers(oldest * self.shard, (newest + 1) * self.shard, size)

    def _take(self, places: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[list[Scene], Tensor]:
        found = [(self._load(int(place) // self.shard), int(place) % self.shard) for place in places]
        latents = torch.stack([shard.latents[row].float() for shard, row in found]).to(self.device)
        return [shard.scenes[row] for shard, row in found], latents

    def _load(self, index: int) -> Shard:
        if index not in self._shards:
            first, count = index * self.shard // VIEWS, self.shard // VIEWS
            scenes = [scene for seed in range(first, first + count) for scene in trio(seed, held_out=self.held_out)]
            self._shards[index] = Shard(scenes, self._latents(index, scenes))
        return self._shards[index]

    def _latents(self, index: int, scenes: list[Scene]) -> Tensor:
        kind = "latents" if self.held_out is False else "latents-all"
        name = f"{kind}-{self.fingerprint[:12]}-{self.shard}-{index:06d}.safetensors"
        path = self.folder / name if self.folder else None
        if path and path.is_file():
            return cast(Tensor, load_file(path)["latents"]).to(self.device)
        latents = torch.cat([self._encode(scenes[i : i + CHUNK]) for i in range(0, self.shard, CHUNK)]).half()
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, overwrite=True) as part:
                save_file({"latents": latents.cpu()}, part)
        return latents

    @torch.no_grad()
    def _encode(self, scenes: list[Scene]) -> Tensor:
        images = draw(scenes, self.device).contiguous(memory_format=torch.channels_last)
        # In half the time and to 0.4 % of the latents' deviation, whatever the precision around it.
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            mean = cast(Tensor, self.vae.encode(images.to(self.vae.dtype)).latent_dist.mean)
        return cast(Tensor, mean.float() * self.vae.config["scaling_factor"]).contiguous()
