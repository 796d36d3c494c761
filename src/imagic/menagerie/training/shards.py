"""Training data made once and used several times: scenes, and what was computed from them, in shards.

Drawing a scene costs about as much as training on it, so a run keeps a window of recent shards and takes each scene
several times, changed a little each time by whoever takes it. What a step sees is a function of its number alone;
shards on disk only save time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from imagic.core.files import replacing
from imagic.core.seeds import derive
from imagic.menagerie.scenes import Scene

SHARD = 1024  # groups of scenes, unless a store is given another size
WINDOW = 24  # shards
SEEDS = 10**4  # of runs; each has scenes of its own, so that a run on another's weights sees new ones
SHARDS_OF_A_SEED = 1 << 14


@dataclass(frozen=True)
class Group:
    """Scenes that stay together. name: in the names of shards. scenes: those of a number, always `views` of them."""

    name: str
    scenes: Callable[[int], list[Scene]]
    views: int = 1


@dataclass(frozen=True)
class Shard:
    """Scenes, and one row for each of them, on the CPU."""

    scenes: list[Scene]
    rows: Tensor


class ShardStore:
    """Scenes in groups that stay together (one, or the views of a trio), and the rows made from them.

    group: the scenes of a number, always `views` of them. make: rows (N, ...) of N scenes. reuse: how often a group is
    used on average before the window has moved past it. shard: groups in a shard. folder and name: where a shard's
    rows are kept, and what they are, so that no other rows are taken for them (folder None: nowhere).
    """

    def __init__(
        self,
        group: Callable[[int], list[Scene]],
        make: Callable[[list[Scene]], Tensor],
        *,
        views: int = 1,
        reuse: int,
        seed: int,
        shard: int = SHARD,
        folder: Path | None = None,
        name: str = "",
    ) -> None:
        self.group, self.make, self.views = group, make, views
        self.reuse, self.seed, self.shard = reuse, seed, shard
        self.folder, self.name = folder, name
        self._shards: dict[int, Shard] = {}

    def batch(self, step: int, size: int) -> tuple[list[Scene], Tensor]:
        """The scenes of a step and their rows (size, ...), whole groups side by side. size: a multiple of `views`."""
        found = [(self._load(int(place) // self.shard), int(place) % self.shard) for place in self._draw(step, size)]
        scenes = [scene for shard, row in found for scene in shard.scenes[row * self.views : (row + 1) * self.views]]
        rows = torch.empty((len(scenes), *found[0][0].rows.shape[1:]), dtype=found[0][0].rows.dtype)
        for place, (shard, row) in enumerate(found):  # autocast has no float16 torch.cat on the CPU
            rows[place * self.views : (place + 1) * self.views] = shard.rows[row * self.views : (row + 1) * self.views]
        return scenes, rows

    def _draw(self, step: int, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The numbers of a step's groups."""
        groups = size // self.views
        first = self.seed * SHARDS_OF_A_SEED
        newest = first + step * groups // (self.shard * self.reuse)
        oldest = max(first, newest - WINDOW + 1)
        for gone in [index for index in self._shards if index < oldest]:
            del self._shards[gone]
        rng = np.random.default_rng(derive(self.seed, f"latents/{step}"))
        return rng.integers(oldest * self.shard, (newest + 1) * self.shard, groups)

    def _load(self, index: int) -> Shard:
        if index not in self._shards:
            numbers = range(index * self.shard, (index + 1) * self.shard)
            scenes = [scene for number in numbers for scene in self.group(number)]
            self._shards[index] = Shard(scenes, self._rows(index, scenes))
        return self._shards[index]

    def _rows(self, index: int, scenes: list[Scene]) -> Tensor:
        if not self.folder:
            return self.make(scenes).cpu()
        path = self.folder / f"{self.name}-{self.shard}-{index:06d}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, overwrite=True) as part:
                save_file({"rows": self.make(scenes).cpu()}, part)
        return cast(Tensor, load_file(path)["rows"])
