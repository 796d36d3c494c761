"""Analytic denoisers with known answers, for whatever runs over levels."""

from __future__ import annotations

import torch
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.noise import NoiseLevels, Prediction


def vp_levels(count: int = 1000) -> NoiseLevels:
    """Stable Diffusion's training levels (scaled-linear betas), clean to noisy, in float64."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, count, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)
    return NoiseLevels(kept.sqrt(), (1 - kept).sqrt(), torch.arange(count))


def flow_levels(count: int) -> NoiseLevels:
    """t from 1 to 0 in `count` even steps, as a sampling grid: alpha = 1 - t, sigma = t."""
    t = torch.linspace(1, 0, count + 1, dtype=torch.float64)
    return NoiseLevels(1 - t, t, 1000 * t)


def text(*values: float) -> Conditioning:
    """One row per value: the mean of the data that the Gaussian model has under this text."""
    return Conditioning({"sequence": torch.tensor(values).reshape(-1, 1, 1)}, learnable=frozenset({"sequence"}))


class Gaussian:
    """The exact denoiser of data N(mean, std^2) per pixel, where the mean is the text: E[x0 | z] in closed form."""

    def __init__(self, levels: NoiseLevels, prediction: Prediction, std: float = 0.5) -> None:
        self.levels, self.prediction, self.std = levels, prediction, std
        self.calls: list[tuple[int, float]] = []  # rows and first timestep of each call

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        self.calls.append((len(z), float(timestep[0])))
        # The level of a timestep, wherever it stands in the grid.
        row = (self.levels.timestep[None] - timestep[:, None]).abs().argmin(1)
        alpha, sigma = (v[row].float().reshape(-1, 1, 1, 1) for v in (self.levels.alpha, self.levels.sigma))
        mean = conditioning.tensors["sequence"].reshape(-1, 1, 1, 1)
        x0 = (mean * sigma**2 + alpha * self.std**2 * z) / (alpha**2 * self.std**2 + sigma**2)
        eps = (z - alpha * x0) / sigma
        match self.prediction:
            case Prediction.EPS:
                return eps
            case Prediction.V:
                return alpha * eps - sigma * x0
            case Prediction.X0:
                return x0
            case Prediction.FLOW:
                return eps - x0
