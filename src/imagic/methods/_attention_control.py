"""Prompt-to-Prompt's attention control (Hertz et al. 2022, Algorithm 1): early on, some rows of a batch take the
attention maps of others, which fixes where things are before the text says what they are.

Only the rows under the text take part; those under the empty text, which guidance runs beside them, are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.noise import NoiseLevels
from imagic.core.types import AttentionControl, AttentionLayer, Backbone, Denoiser
from imagic.methods._token_alignment import Alignment

# The maps that the paper takes for its local blend are 16 x 16; the grid nearest to that serves in other models.
BLEND_TOKENS = 16 * 16


@dataclass(frozen=True)
class Sharing:
    """Who takes whose maps, and for how long.

    giver: for each row of the batch the row whose maps it takes; a row that is its own giver keeps its maps.
    cross_steps, self_steps: the first shares of the steps with shared cross-attention and self-attention, in [0, 1].
    alignment: of the texts; None where all rows have the same positions. weights: (positions,) by which the taken maps
    over the text are multiplied; None for ones. self_tokens: self-attention layers of more queries share nothing.
    """

    giver: Sequence[int]
    cross_steps: float
    self_steps: float
    alignment: Alignment | None = None
    weights: Tensor | None = None
    self_tokens: int = 32 * 32

    def __call__(self, layer: AttentionLayer, maps: Tensor) -> Tensor:
        """maps: (len(giver), heads, queries, keys), of the rows under the text. Returns what they become."""
        own, taken = maps, maps[list(self.giver)]
        if layer.cross:
            if self.alignment is not None:
                matrix, shared = self.alignment.matrix.to(maps), self.alignment.shared.to(maps)
                taken = shared * (taken @ matrix) + (1 - shared) * own
            if self.weights is not None:
                taken = taken * self.weights.to(maps)
        takes = torch.tensor([giver != row for row, giver in enumerate(self.giver)], device=maps.device)
        return torch.where(takes[:, None, None, None], taken, own)

    def concerns(self, layer: AttentionLayer, step: int, total: int) -> bool:
        """Whether maps of this layer are shared in this step (from 0) of `total`."""
        if layer.cross:
            return step < int(total * self.cross_steps)
        return step < int(total * self.self_steps) and math.prod(layer.size) <= self.self_tokens


class LocalBlend:
    """Prompt-to-Prompt's local editing: only where the words look does a row differ from its giver.

    Holds the cross-attention maps of the words, summed over layers, heads and steps so far, for each grid size.
    words: (B, positions), 1 at the positions of a row's words. start: the first step (from 0) that is blended.
    threshold: of a map relative to its maximum.
    """

    def __init__(self, giver: Sequence[int], words: Tensor, start: int, threshold: float) -> None:
        self._giver, self._words, self._start, self._threshold = list(giver), words, start, threshold
        self._sums: dict[tuple[int, int], Tensor] = {}

    def add(self, layer: AttentionLayer, maps: Tensor) -> None:
        """maps: (B, heads, queries, positions), as they were used."""
        words = torch.einsum("bhqk,bk->bq", maps, self._words.to(maps)).reshape(-1, *layer.size)
        self._sums[layer.size] = self._sums.get(layer.size, 0) + words

    def mask(self, size: tuple[int, int]) -> Tensor:
        """Where a row's own words or its giver's look, (B, 1, *size), bool."""
        nearest = min(self._sums, key=lambda grid: (abs(math.log(math.prod(grid) / BLEND_TOKENS)), -math.prod(grid)))
        soft = F.interpolate(F.max_pool2d(self._sums[nearest][:, None], 3, stride=1, padding=1), size)
        own = soft > self._threshold * soft.amax((2, 3), keepdim=True)
        return own | own[self._giver]

    def __call__(self, z: Tensor, step: int) -> Tensor:
        """z after `step` (from 0), (B, C, h, w), with the giver's values outside the mask."""
        if step < self._start:
            return z
        return torch.where(self.mask((z.shape[2], z.shape[3])), z, z[self._giver])


class SharingDenoiser:
    """A network whose rows share attention maps; the step is known by its timestep. denoiser: does the work on
    `backbone`, or is it."""

    def __init__(
        self,
        backbone: Backbone,
        denoiser: Denoiser,
        schedule: NoiseLevels,
        sharing: Sharing,
        blend: LocalBlend | None = None,
    ) -> None:
        self.prediction = denoiser.prediction
        self._backbone, self._denoiser, self._schedule = backbone, denoiser, schedule
        self._sharing, self._blend = sharing, blend

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """As Denoiser.predict, with one timestep for all rows; the last rows are those under the text."""
        total = len(self._schedule) - 1
        step = int((self._schedule.timestep[:total].double() - float(timestep[0])).abs().argmin())
        with self._backbone.attention(_Step(self._sharing, self._blend, step, total)):
            return self._denoiser.predict(z, timestep, conditioning)


@dataclass(frozen=True)
class _Step(AttentionControl):
    sharing: Sharing
    blend: LocalBlend | None
    step: int
    total: int

    def wants(self, layer: AttentionLayer) -> bool:
        return self.sharing.concerns(layer, self.step, self.total) or (layer.cross and self.blend is not None)

    def __call__(self, layer: AttentionLayer, maps: Tensor) -> Tensor:
        rows = len(self.sharing.giver)
        under_text = maps[-rows:]
        if self.sharing.concerns(layer, self.step, self.total):
            under_text = self.sharing(layer, under_text)
        if layer.cross and self.blend is not None:
            self.blend.add(layer, under_text)
        return torch.cat([maps[:-rows], under_text])
