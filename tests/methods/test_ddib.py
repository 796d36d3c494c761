"""DDIB against the exact bridge between two Gaussians, and against the methods that it contains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.types import FitRequest
from imagic.methods.ddib import DDIB
from imagic.methods.encode_decode import EncodeDecode
from tests.methods.gaussians import Gaussians, drawn, error
from tests.methods.running import edit, fit, fit_and_edit


# From N(0.3, 0.5^2) to N(-0.4, 0.8^2), computed apart from this code in float64 scalars.
@pytest.mark.parametrize(
    ("num_steps", "expected"), [(10, 1.43e-1), (50, 2.56e-2), (100, 1.25e-2), (200, 6.12e-3), (500, 2.37e-3)]
)
def test_error_against_the_exact_bridge(num_steps: int, expected: float) -> None:
    model, request = Gaussians(), drawn("a", source_text="a", target_text="b")
    (made,) = fit_and_edit(DDIB(), model, request, fit_values={"num_steps": num_steps}).chosen
    schedule = model.schedule(num_steps)
    noise = model.flow("a", request.image, schedule, num_steps, 0)
    assert error(made.image[None], model.flow("b", noise, schedule, 0, num_steps)) == pytest.approx(expected, rel=0.03)


def test_there_and_back_again_returns_the_input() -> None:
    """Cycle consistency (DDIB, Prop. 3.2) up to the error of the steps, which falls as 1 / N."""
    model, there = Gaussians(), drawn("a", source_text="a", target_text="b")
    errors = []
    for num_steps in (100, 200):
        (between,) = fit_and_edit(DDIB(), model, there, fit_values={"num_steps": num_steps}).chosen
        back = replace(there, image=between.image[None], source_text="b", target_text="a")
        (again,) = fit_and_edit(DDIB(), model, back, fit_values={"num_steps": num_steps}).chosen
        errors.append(error(again.image, there.image[0]))
    assert errors[1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)


def test_guidance_leads_past_the_target() -> None:
    model = Gaussians()
    state = fit(DDIB(), model, drawn("a", source_text="a", target_text="b"), num_steps=20)
    model.calls.clear()
    means = [float(edit(DDIB(), model, state, guidance_scale=w).chosen[0].image.mean()) for w in (1.0, 2.0, 4.0)]
    assert [rows for rows, _ in model.calls] == [1] * 20 + [2] * 40
    assert means[0] == pytest.approx(-0.4, abs=0.1)
    assert means[0] > means[1] > means[2]


def test_it_is_encode_decode_of_the_whole_schedule_from_a_source(
    tiny_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    request = replace(request_to_sit, source_text="a cat on the grass")
    values = {"num_steps": 4}
    (bridge,) = fit_and_edit(DDIB(), tiny_backbone, request, fit_values=values, guidance_scale=2.0).chosen
    (whole,) = fit_and_edit(
        EncodeDecode(), tiny_backbone, request, fit_values=values, strength=1.0, guidance_scale=2.0
    ).chosen
    assert torch.equal(bridge.image, whole.image)
    assert bridge.strength == 1
