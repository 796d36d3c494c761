"""The one equation: z_t = alpha_t * z0 + sigma_t * eps, for every family, and what a network may predict about it.

Variance-preserving models (SD, SDXL, IF) have alpha^2 + sigma^2 = 1; flow models (SD3, Flux) alpha = 1 - t, sigma = t.
Levels are float64, arithmetic on latents float32; the level and the model's own timestep are kept side by side and
never derived from one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Prediction(StrEnum):
    """What the network's output means."""

    EPS = "eps"
    V = "v"  # alpha * eps - sigma * z0 (Salimans & Ho 2022)
    X0 = "x0"
    FLOW = "flow"  # eps - z0 (rectified flow)


@dataclass(frozen=True)
class Bound:
    """What a model of pixels holds for a possible x0_hat, on which its sampler insists at every step.

    limit: the largest number of a clean picture. quantile: if there is one, dynamic thresholding (Saharia et al. 2022,
    Imagen, Sec. 2.3): each picture's own, at least 1 and at most `limit`, is made 1; else numbers are cut at `limit`.
    """

    limit: float
    quantile: float | None = None

    def __call__(self, x0_hat: Tensor) -> Tensor:
        """x0_hat: (B, C, h, w)."""
        if self.quantile is None:
            return x0_hat.clamp(-self.limit, self.limit)
        size = torch.quantile(x0_hat.abs().flatten(1), self.quantile, dim=1).clamp(1, self.limit)
        size = size.reshape(-1, 1, 1, 1)
        return x0_hat.clamp(-size, size) / size


@dataclass(frozen=True)
class NoiseLevels:
    """A grid of noise levels: alpha, sigma float64 (T,), and the model's own timestep for each (T,).

    density: of training levels, the share of training at each, float64 (T,) with sum 1; None for equal shares. A part
    of a grid has none. bound: of a sampling grid, what its steps do to x0_hat; None for nothing.
    """

    alpha: Tensor
    sigma: Tensor
    timestep: Tensor
    density: Tensor | None = None
    bound: Bound | None = None

    def __post_init__(self) -> None:
        if not self.alpha.shape == self.sigma.shape == self.timestep.shape or self.alpha.dim() != 1:
            raise ValueError("alpha, sigma and timestep must be vectors of one length")
        if self.density is not None and self.density.shape != self.alpha.shape:
            raise ValueError("density must have one share for each level")

    def __len__(self) -> int:
        return len(self.alpha)

    def __getitem__(self, index: slice | Tensor) -> NoiseLevels:
        return NoiseLevels(self.alpha[index], self.sigma[index], self.timestep[index], bound=self.bound)


def _like(level: Tensor | float, z: Tensor) -> Tensor:
    """A level, or one level per row (B,), shaped to multiply z (B, ...) in float32."""
    level = torch.as_tensor(level, dtype=torch.float64).to(z.device, torch.float32)
    return level.reshape(-1, *[1] * (z.dim() - 1)) if level.dim() else level


def add_noise(z0: Tensor, eps: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """z_t = alpha z0 + sigma eps. alpha, sigma: numbers, or (B,)."""
    return _like(alpha, z0) * z0 + _like(sigma, z0) * eps


def training_target(z0: Tensor, eps: Tensor, alpha: Tensor | float, sigma: Tensor | float, kind: Prediction) -> Tensor:
    """What the network is trained to output."""
    match kind:
        case Prediction.EPS:
            return eps
        case Prediction.V:
            return _like(alpha, z0) * eps - _like(sigma, z0) * z0
        case Prediction.X0:
            return z0
        case Prediction.FLOW:
            return eps - z0


def to_x0_eps(
    output: Tensor, z: Tensor, alpha: Tensor | float, sigma: Tensor | float, kind: Prediction
) -> tuple[Tensor, Tensor]:
    """The pair (x0_hat, eps_hat) behind a network output, such that z = alpha x0_hat + sigma eps_hat."""
    a, s = _like(alpha, z), _like(sigma, z)
    match kind:
        case Prediction.EPS:
            return (z - s * output) / a, output
        case Prediction.V:
            # For any alpha, sigma (not only variance-preserving): solve v = a eps - s x0 with z = a x0 + s eps.
            norm = a * a + s * s
            return (a * z - s * output) / norm, (s * z + a * output) / norm
        case Prediction.X0:
            return output, (z - a * output) / s
        case Prediction.FLOW:
            norm = a + s
            return (z - s * output) / norm, (z + a * output) / norm
