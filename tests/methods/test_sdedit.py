"""SDEdit against diffusers' img2img pipeline with the same noise, and against closed forms on Gaussian data."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from imagic.core.errors import OptionError
from imagic.core.options import build_options
from imagic.core.seeds import initial_noise
from imagic.core.types import FitRequest
from imagic.methods.sdedit import SDEdit
from tests.conftest import MakeBackbone, build_pipeline, build_scheduler
from tests.methods.gaussians import Gaussians, drawn, error
from tests.methods.running import edit, fit, fit_and_edit


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("strength", "guidance_scale", "ddim_noise"), [(0.3, 1.0, 0.0), (0.75, 4.0, 0.0), (1.0, 7.5, 0.0), (0.6, 2.0, 0.7)]
)
def test_an_edit_is_that_of_diffusers_img2img(
    make_backbone: MakeBackbone,
    request_to_sit: FitRequest,
    prediction: str,
    strength: float,
    guidance_scale: float,
    ddim_noise: float,
) -> None:
    backbone = make_backbone(prediction_type=prediction)
    (ours,) = fit_and_edit(
        SDEdit(),
        backbone,
        request_to_sit,
        (11,),
        strength=strength,
        num_steps=8,
        guidance_scale=guidance_scale,
        ddim_noise=ddim_noise,
    ).chosen
    assert (ours.strength, ours.seed) == (strength, 11)

    parts = build_pipeline()
    pipeline = StableDiffusionImg2ImgPipeline(**{**parts.components, "scheduler": build_scheduler()})
    pipeline.scheduler = build_scheduler(prediction_type=prediction)
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        clean = (pipeline.vae.encode(request_to_sit.image).latent_dist.mean - 0.1) * 0.7
        z = pipeline(
            request_to_sit.target_text,
            image=clean,  # four channels are taken as latents; from pixels it would draw a sample of the posterior
            strength=strength,
            num_inference_steps=8,
            guidance_scale=guidance_scale,
            eta=ddim_noise,
            generator=torch.Generator().manual_seed(11),
            output_type="latent",
        ).images
        expected = pipeline.vae.decode(z / 0.7 + 0.1).sample[0].clamp(-1, 1)
    torch.testing.assert_close(ours.image, expected, rtol=0, atol=2e-4)


def test_at_strength_0_the_reconstruction_comes_back_bit_for_bit() -> None:
    model, request = Gaussians(), drawn()
    state = fit(SDEdit(), model, request)
    for strength in (0.0, 0.049):  # less than one step of 20 is none
        result = edit(SDEdit(), model, state, strength=strength, num_steps=20)
        assert torch.equal(result.chosen[0].image, result.reconstruction)
        assert torch.equal(result.reconstruction, request.image[0])
    assert model.calls == []


def test_the_distance_to_the_input_grows_with_the_strength() -> None:
    model, request = Gaussians(), drawn()
    strengths = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    state = fit(SDEdit(), model, request)
    chosen = edit(SDEdit(), model, state, (0, 1), strengths=strengths, num_steps=20, guidance_scale=1.0).chosen
    for seed in (0, 1):
        distances = [float((each.image - request.image[0]).norm()) for each in chosen if each.seed == seed]
        assert distances[0] == 0
        assert all(near < 0.95 * far for near, far in pairwise(distances))


def test_the_noised_input_follows_the_flow_of_the_target() -> None:
    """At 40 steps DDIM is near to the exact flow, the second-order sampler nearer."""
    model, request = Gaussians(), drawn()
    state = fit(SDEdit(), model, request)
    schedule = model.schedule(40)
    level = 40 - 24
    noise = initial_noise((4, 32, 32), [5])
    noisy = schedule.alpha[level].float() * request.image + schedule.sigma[level].float() * noise
    exact = model.flow("b", noisy, schedule, level, 40)
    errors = []
    for sampler in ("ddim", "dpmpp_2m"):
        (made,) = edit(
            SDEdit(), model, state, (5,), strength=0.6, num_steps=40, guidance_scale=1.0, sampler=sampler
        ).chosen
        errors.append(error(made.image[None], exact))
    assert errors[1] / 0.7 < errors[0] < 0.05


def test_the_most_noise_makes_fresh_draws_of_the_target() -> None:
    """At strength 1 and DDIM noise 1 (DDPM) hardly anything of the input is left: data of the target, by seed."""
    model, request = Gaussians(), drawn()
    first, second = fit_and_edit(
        SDEdit(), model, request, (0, 1), strength=1.0, num_steps=100, guidance_scale=1.0, ddim_noise=1.0
    ).chosen
    for made in (first.image, second.image):
        assert float(made.mean()) == pytest.approx(-0.4, abs=0.06)
        assert float(made.std()) == pytest.approx(0.8, abs=0.06)
    both = torch.stack([first.image.flatten(), second.image.flatten(), request.image.flatten()])
    assert float(torch.corrcoef(both).fill_diagonal_(0).abs().max()) < 0.1


def test_seeds_are_sampled_together_up_to_the_largest_batch() -> None:
    model, request = Gaussians(), drawn()
    state = fit(SDEdit(), model, request)
    values = {"strength": 0.5, "num_steps": 4, "ddim_noise": 0.5}
    chosen = edit(SDEdit(), model, state, range(5), max_batch=2, **values).chosen
    assert [rows for rows, _ in model.calls] == [4, 4, 4, 4, 2, 2]
    for candidate in chosen:
        (alone,) = edit(SDEdit(), model, state, (candidate.seed,), **values).chosen
        torch.testing.assert_close(alone.image, candidate.image, rtol=0, atol=1e-5)


def test_fresh_noise_needs_ddim() -> None:
    with pytest.raises(OptionError, match="deterministic"):
        build_options(SDEdit.EditOptions, {"sampler": "dpmpp_2m", "ddim_noise": 0.5})
