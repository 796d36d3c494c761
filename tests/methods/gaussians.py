"""A model whose answers are known in closed form: under each text its data are Gaussian. Pictures are latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.noise import NoiseLevels, Prediction
from imagic.core.seeds import initial_noise
from imagic.core.types import FitRequest
from tests.core.fakes import vp_levels
from tests.methods.fakes import Answers

# Text -> mean and deviation of every number of the data.
DATA = {"": (0.3, 0.5), "a": (0.3, 0.5), "b": (-0.4, 0.8)}


class Gaussians(Answers):
    """The exact denoiser of N(mean, std^2) for the text's mean and std, on Stable Diffusion's levels and grid.

    calls: rows and timestep of each call of the network.
    """

    def __init__(self, data: Mapping[str, tuple[float, float]] = DATA) -> None:
        super().__init__()
        self.prediction, self.data = Prediction.EPS, data

    def decode(self, z: Tensor) -> Tensor:
        return z.clone()

    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        rows = torch.tensor([self.data[text] for text in texts])
        return Conditioning({"sequence": rows}, frozenset({"sequence"}))

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        self.calls.append((len(z), float(timestep[0])))
        alpha, sigma, mean, std = (
            values.float().reshape(-1, 1, 1, 1)
            for values in (
                self.levels.alpha[timestep.long()],
                self.levels.sigma[timestep.long()],
                *conditioning.tensors["sequence"].unbind(-1),
            )
        )
        # E[x0 | z] of Gaussian data, and the noise that goes with it.
        x0 = (mean * sigma**2 + alpha * std**2 * z) / (alpha**2 * std**2 + sigma**2)
        return (z - alpha * x0) / sigma

    def schedule(self, num_steps: int) -> NoiseLevels:
        timestep = 1 + torch.arange(num_steps - 1, -1, -1) * (1000 // num_steps)
        levels = vp_levels()
        index = torch.cat([timestep, torch.zeros(1).long()])
        return NoiseLevels(levels.alpha[index], levels.sigma[index], index)

    def flow(self, text: str, z: Tensor, schedule: NoiseLevels, start: int, end: int) -> Tensor:
        """Where the ODE of the text's data takes z from one level of the schedule to another, exactly.

        It keeps the distance from the level's mean in units of the level's deviation.
        """
        mean, std = self.data[text]
        alpha, sigma = schedule.alpha, schedule.sigma
        spread = (alpha**2 * std**2 + sigma**2).sqrt()
        moved = alpha[end] * mean + spread[end] / spread[start] * (z.double() - alpha[start] * mean)
        return moved.float()


def drawn(text: str = "a", source_text: str = "", target_text: str = "b") -> FitRequest:
    """A picture (1, 4, 32, 32) drawn from the data of `text`."""
    mean, std = DATA[text]
    image = mean + std * initial_noise((4, 32, 32), [77])
    return FitRequest(image, target_text, source_text)


def error(z: Tensor, exact: Tensor) -> float:
    """The relative error."""
    return float((z - exact).norm() / exact.norm())
