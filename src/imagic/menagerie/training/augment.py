"""Small changes of pictures that leave their facts as they are, so that a judge cannot learn pictures by heart.

Mirrored, moved and scaled as a trio, since its views must keep one individual's pattern; softened and noised one by
one, as a diffusion model's pictures are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.menagerie.scenes import Scene

SHIFT = 0.1  # of half the picture's side
ZOOM = 0.1
NOISE = 0.1  # largest standard deviation, for pictures in [-1, 1]
MIRRORED = {"left": "right", "right": "left"}


def augment(images: Tensor, views: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Changed pictures (N, 3, S, S) in about [-1, 1], and which of them are mirrored (N,), on the CPU.

    views: neighbouring rows that are moved together. noise: a CPU generator.
    """
    device = images.device
    groups = len(images) // views

    def uniform(low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=noise)

    mirrored = torch.rand(groups, generator=noise) < 0.5
    zoom = uniform(1 - ZOOM, 1 + ZOOM, groups)
    theta = torch.zeros(groups, 2, 3)
    theta[:, 0, 0] = torch.where(mirrored, -zoom, zoom)
    theta[:, 1, 1] = zoom
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-SHIFT, SHIFT, groups), uniform(-SHIFT, SHIFT, groups)
    grid = F.affine_grid(theta.repeat_interleave(views, 0).to(device), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    share = uniform(0, 1, len(images)).view(-1, 1, 1, 1).to(device)
    soft = F.avg_pool2d(F.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    level = uniform(0, NOISE, len(images)).view(-1, 1, 1, 1)
    grain = level * torch.randn(images.shape, generator=noise)
    return torch.lerp(moved, soft, share) + grain.to(device), mirrored.repeat_interleave(views)


def as_shown(scenes: Sequence[Scene], mirrored: Tensor) -> list[Scene]:
    """The scenes of pictures of which some are mirrored (N,): animals there face the other way, and that is all that
    facts and captions know of it."""
    return [turned(scene) if flag else scene for scene, flag in zip(scenes, mirrored.tolist(), strict=True)]


def turned(scene: Scene) -> Scene:
    """The scene with its animals facing the other way."""
    animals = tuple(replace(each, facing=MIRRORED.get(each.facing, each.facing)) for each in scene.animals)
    return replace(scene, animals=animals)
