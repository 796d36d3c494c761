"""Where coats lie in a picture: training looks there more closely.

A coat fills about a fifth of a picture and tells one individual from another, which the rest does not. Counting its
cells more asks for the same pictures (what minimises a squared error does not depend on the weights of its places) and
spends more of each step on the individual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.menagerie.render import render
from imagic.menagerie.scenes import Rgb, Scene

FINENESS = 2  # pixels per cell and side
VISIBLE = 0.1  # difference, of 2


def coat_share(scenes: Sequence[Scene], side: int, device: torch.device | str = "cpu") -> Tensor:
    """How much of each cell of N pictures shows an animal's coat, (N, 1, side, side), in [0, 1]."""
    drawn = render([*scenes, *map(_recoated, scenes)], side * FINENESS, device)
    first, second = drawn.chunk(2)
    seen = ((first - second).abs().amax(1, keepdim=True) > VISIBLE).float()
    return F.avg_pool2d(seen, FINENESS)


def coat_weights(share: Tensor, weight: float) -> Tensor:
    """Weights (N, 1, side, side) of the cells of N pictures: 1 beside and `weight` on coats, over their mean."""
    weights = 1 + (weight - 1) * share
    return weights / weights.mean()


def _recoated(scene: Scene) -> Scene:
    """The same scene with every coat in the complementary colours."""
    animals = tuple(
        replace(
            animal, coat=replace(animal.coat, base=_complement(animal.coat.base), mark=_complement(animal.coat.mark))
        )
        for animal in scene.animals
    )
    return replace(scene, animals=animals)


def _complement(colour: Rgb) -> Rgb:
    """Far from the colour in each channel, whatever it is."""
    red, green, blue = (value - 0.5 if value > 0.5 else value + 0.5 for value in colour)
    return red, green, blue
