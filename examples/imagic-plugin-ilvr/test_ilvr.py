"""Cases whose answer is known exactly, on a model whose latent is the picture and which finds no noise in anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from imagic_plugin_ilvr import ILVR, ILVREdit, ILVRFit, coarse
from PIL import Image

from imagic.core.conditioning import Conditioning
from imagic.core.noise import NoiseLevels, Prediction
from imagic.core.types import FitRequest

IMAGE = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


class Blind:
    name, fingerprint, device, prediction = "blind", "none", torch.device("cpu"), Prediction.EPS

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return image

    decode = encode

    def encode_text(self, texts: list[str]) -> Conditioning:
        return Conditioning({"sequence": torch.zeros(len(texts), 1)})

    def schedule(self, num_steps: int) -> NoiseLevels:
        sigma = torch.linspace(0.9, 0, num_steps + 1, dtype=torch.float64)
        return NoiseLevels((1 - sigma**2).sqrt(), sigma, sigma)

    def predict(self, z: torch.Tensor, timestep: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        return torch.zeros_like(z)


def edited(**options: Any) -> torch.Tensor:
    method, backbone = ILVR(), Blind()
    state = result(method.fit(backbone, FitRequest(IMAGE, "a sitting dog"), ILVRFit()))
    edit = result(method.edit(backbone, state, ILVREdit(num_steps=4, **options), [5, 6]))
    return torch.stack([candidate.image for candidate in edit.chosen])


def result(work: Any) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as finished:
            return finished.value


def test_held_to_everything_the_input_comes_back() -> None:
    torch.testing.assert_close(edited(strength=0.0, factor=1), IMAGE.expand(2, 3, 8, 8), rtol=0, atol=0)


def test_free_of_the_input_nothing_but_the_noise_is_left() -> None:
    noise = torch.stack([torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (5, 6)])
    # Without noise in its view each step divides by alpha and multiplies by the next.
    torch.testing.assert_close(edited(strength=1.0), noise / (1 - 0.9**2) ** 0.5)


@pytest.mark.parametrize("factor", [2, 4])
def test_the_coarse_part_is_that_of_pillows_bicubic_filter(factor: int) -> None:
    z = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = coarse(z, factor)[0]
    for channel, expected in zip(found, z[0].numpy(), strict=True):
        small = Image.fromarray(expected).resize((8 // factor, 8 // factor), Image.Resampling.BICUBIC)
        large = np.asarray(small.resize((8, 8), Image.Resampling.BICUBIC))
        torch.testing.assert_close(channel, torch.from_numpy(large.copy()), rtol=1e-4, atol=1e-5)
