"""Encode-Decode against closed forms on Gaussian data, and against diffusers' schedulers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMInverseScheduler
from torch import Tensor

from imagic.core.types import FitRequest
from imagic.methods.encode_decode import EncodeDecode
from tests.conftest import MakeBackbone, build_pipeline
from tests.methods.gaussians import Gaussians, drawn, error
from tests.methods.running import edit, fit, fit_and_edit


# Relative round-trip error on x0 ~ N(0.3, 0.5^2) at strength 0.8, computed apart from this code in float64 scalars.
@pytest.mark.parametrize(("num_steps", "expected"), [(10, 1.7e-1), (20, 8.6e-2), (50, 3.4e-2), (200, 8.4e-3)])
@pytest.mark.parametrize("source_text", ["", "a"])
def test_round_trip_error(num_steps: int, expected: float, source_text: str) -> None:
    request = drawn("a", source_text=source_text, target_text="a")
    (back,) = fit_and_edit(
        EncodeDecode(), Gaussians(), request, fit_values={"num_steps": num_steps}, strength=0.8, guidance_scale=1.0
    ).chosen
    assert error(back.image, request.image[0]) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
def test_the_edit_follows_the_flows_of_source_and_target(strength: float) -> None:
    """Along the source's flow to level K and back along the target's; the error falls as 1 / N."""
    model, request = Gaussians(), drawn("a", source_text="a", target_text="b")
    errors = []
    for num_steps in (100, 200):
        (made,) = fit_and_edit(
            EncodeDecode(),
            model,
            request,
            fit_values={"num_steps": num_steps},
            strength=strength,
            guidance_scale=1.0,
        ).chosen
        schedule = model.schedule(num_steps)
        level, clean = num_steps - round(num_steps * strength), num_steps
        noisy = model.flow("a", request.image, schedule, clean, level)
        errors.append(error(made.image[None], model.flow("b", noisy, schedule, level, clean)))
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)


def test_an_edit_is_what_diffusers_schedulers_make_of_it(
    make_backbone: MakeBackbone, request_to_sit: FitRequest
) -> None:
    request = FitRequest(request_to_sit.image, "a photo of a sitting dog", "a cat on the grass")
    backbone = make_backbone()
    (ours,) = fit_and_edit(
        EncodeDecode(), backbone, request, fit_values={"num_steps": 6}, strength=0.5, guidance_scale=3.0
    ).chosen

    pipeline = build_pipeline()
    source, null, target = (
        pipeline.encode_prompt(text, "cpu", 1, False)[0] for text in (request.source_text, "", request.target_text)
    )

    def network(z: Tensor, t: Tensor, embedding: Tensor) -> Tensor:
        return pipeline.unet(z, t, encoder_hidden_states=embedding).sample

    with torch.no_grad():
        z = (pipeline.vae.encode(request.image).latent_dist.mean - 0.1) * 0.7
        inverse = DDIMInverseScheduler.from_config(pipeline.scheduler.config)
        inverse.set_timesteps(6)
        for t in inverse.timesteps[:3]:
            z = inverse.step(network(z, t, source), int(t), z).prev_sample
        pipeline.scheduler.set_timesteps(6)
        for t in pipeline.scheduler.timesteps[3:]:
            without = network(z, t, null)
            guided = without + 3 * (network(z, t, target) - without)
            z = pipeline.scheduler.step(guided, int(t), z).prev_sample
        expected = pipeline.vae.decode(z / 0.7 + 0.1).sample[0].clamp(-1, 1)
    torch.testing.assert_close(ours.image, expected, rtol=0, atol=2e-4)


def test_at_strength_0_the_reconstruction_comes_back_bit_for_bit() -> None:
    model, request = Gaussians(), drawn(source_text="a")
    state = fit(EncodeDecode(), model, request, num_steps=20)
    model.calls.clear()
    for strength in (0.0, 0.04):  # less than one step of 20 is none
        result = edit(EncodeDecode(), model, state, strength=strength)
        assert torch.equal(result.chosen[0].image, result.reconstruction)
        assert torch.equal(result.reconstruction, request.image[0])
    assert model.calls == []


def test_one_inversion_serves_every_strength_and_target() -> None:
    model = Gaussians()
    state = fit(EncodeDecode(), model, drawn(source_text="a", target_text="b"), num_steps=10)
    assert [rows for rows, _ in model.calls] == [1] * 10
    model.calls.clear()
    swept = edit(EncodeDecode(), model, state, strengths=[0.2, 0.5], guidance_scale=2.0)
    # K steps each, two rows under guidance, from the level of the strength.
    assert model.calls == [(2, 101), (2, 1), (2, 401), (2, 301), (2, 201), (2, 101), (2, 1)]
    assert [candidate.strength for candidate in swept.chosen] == [0.2, 0.5]

    back = edit(EncodeDecode(), model, state, strength=0.5, guidance_scale=1.0, target_text="a").chosen[0]
    bound = fit_and_edit(
        EncodeDecode(),
        model,
        drawn(source_text="a", target_text="a"),
        fit_values={"num_steps": 10},
        strength=0.5,
        guidance_scale=1.0,
    ).chosen[0]
    assert torch.equal(back.image, bound.image)


def test_all_seeds_share_one_computation() -> None:
    model = Gaussians()
    state = fit(EncodeDecode(), model, drawn(source_text="a"), num_steps=5)
    model.calls.clear()
    chosen = edit(EncodeDecode(), model, state, (1, 2, 3), strength=1.0).chosen
    assert len(model.calls) == 5
    assert [candidate.seed for candidate in chosen] == [1, 2, 3]
    assert all(torch.equal(candidate.image, chosen[0].image) for candidate in chosen)
