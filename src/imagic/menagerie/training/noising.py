"""What a diffusion model is trained on: latents with noise of stratified levels, and what it should say of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imagic.backbones.vp import VPGrid
from imagic.core.losses import stratified_pairs
from imagic.core.noise import add_noise, training_target


@dataclass(frozen=True)
class Noised:
    """z: (B, C, h, w); timestep: (B,), integers; target: what the network should predict, as z."""

    z: Tensor
    timestep: Tensor
    target: Tensor


def noised(z0: Tensor, grid: VPGrid, noise: torch.Generator) -> Noised:
    """z0: clean latents, float32. noise: a CPU generator."""
    pairs = stratified_pairs(len(z0), grid.levels, z0.shape[1:], noise)
    level, eps = grid.levels[pairs.index], pairs.eps.to(z0.device)
    return Noised(
        add_noise(z0, eps, level.alpha, level.sigma),
        level.timestep.to(z0.device),
        training_target(z0, eps, level.alpha, level.sigma, grid.prediction),
    )
