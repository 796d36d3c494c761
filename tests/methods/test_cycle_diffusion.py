"""CycleDiffusion against diffusers' pipeline, and its promise: equal texts give the input back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.types import FitRequest
from imagic.methods.cycle_diffusion import CycleDiffusion
from tests.conftest import MakeBackbone, build_pipeline, build_scheduler
from tests.methods.gaussians import Gaussians, drawn
from tests.methods.running import edit, fit, fit_and_edit

EQUAL = {"guidance_scale": 2.5, "source_guidance_scale": 2.5}


@pytest.fixture
def cat_to_dog(request_to_sit: FitRequest) -> FitRequest:
    return replace(request_to_sit, source_text="a cat on the grass")


def diffusers_edit(prediction: str, request: FitRequest, seed: int, **values: Any) -> tuple[Tensor, Tensor]:
    """(result, reconstruction) of diffusers' pipeline, which takes one picture at a time."""
    if not hasattr(diffusers, "CycleDiffusionPipeline"):
        pytest.skip("this diffusers has no CycleDiffusion, which 0.42 moved among the deprecated pipelines")
    parts = {name: part for name, part in build_pipeline().components.items() if name != "image_encoder"}
    parts["scheduler"] = build_scheduler(prediction_type=prediction)
    pipeline = diffusers.CycleDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        clean = (pipeline.vae.encode(request.image).latent_dist.mean - 0.1) * 0.7
        z = pipeline(
            request.target_text,
            request.source_text,
            image=clean,  # four channels are taken as latents
            num_inference_steps=8,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
            **values,
        ).images
        made, reconstruction = (pipeline.vae.decode(each / 0.7 + 0.1).sample[0].clamp(-1, 1) for each in (z, clean))
    return made, reconstruction


@pytest.mark.parametrize(
    ("strength", "guidance_scale", "source_guidance_scale", "ddim_noise"),
    [(0.8, 3.0, 1.0, 0.1), (0.5, 2.0, 1.5, 1.0), (1.0, 1.0, 1.0, 0.4)],
)
def test_an_edit_is_that_of_diffusers(
    make_backbone: MakeBackbone,
    cat_to_dog: FitRequest,
    strength: float,
    guidance_scale: float,
    source_guidance_scale: float,
    ddim_noise: float,
) -> None:
    scales = {"guidance_scale": guidance_scale, "source_guidance_scale": source_guidance_scale}
    result = fit_and_edit(
        CycleDiffusion(),
        make_backbone(),
        cat_to_dog,
        (11,),
        strength=strength,
        num_steps=8,
        ddim_noise=ddim_noise,
        **scales,
    )
    expected, reconstruction = diffusers_edit("epsilon", cat_to_dog, 11, strength=strength, eta=ddim_noise, **scales)
    assert (expected - reconstruction).abs().max() > 0.01  # it edits
    torch.testing.assert_close(result.chosen[0].image, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("ddim_noise", "seeds"), [(0.0, (0,)), (0.1, (0, 1, 2)), (1.0, (4, 2))])
def test_equal_texts_and_scales_give_the_input_back(
    tiny_backbone: StableDiffusionBackbone, cat_to_dog: FitRequest, ddim_noise: float, seeds: tuple[int, ...]
) -> None:
    """Also from a random network: nothing has to be undone, so that nothing need be smooth."""
    request = replace(cat_to_dog, target_text=cat_to_dog.source_text)
    state = fit(CycleDiffusion(), tiny_backbone, request)
    values = {"num_steps": 6, "ddim_noise": ddim_noise, "strengths": [0.3, 0.8, 1.0], **EQUAL}
    result = edit(CycleDiffusion(), tiny_backbone, state, seeds, **values)
    assert len(result.chosen) == 3 * len(seeds)
    for candidate in result.chosen:
        torch.testing.assert_close(candidate.image, result.reconstruction, rtol=0, atol=1e-5)

    other = edit(CycleDiffusion(), tiny_backbone, state, seeds, **values, target_text=cat_to_dog.target_text)
    assert all((one.image - result.reconstruction).abs().max() > 0.01 for one in other.chosen)


def test_diffusers_loses_the_input_where_ours_keeps_it(make_backbone: MakeBackbone, cat_to_dog: FitRequest) -> None:
    """Its noise takes every network to predict eps, and is divided by a deviation that may be 0."""
    request = replace(cat_to_dog, target_text=cat_to_dog.source_text)
    for prediction, ddim_noise in (("v_prediction", 0.1), ("epsilon", 0.0)):
        theirs, reconstruction = diffusers_edit(prediction, request, 3, eta=ddim_noise, **EQUAL)
        assert not (theirs - reconstruction).abs().max() < 0.01
        (ours,) = fit_and_edit(
            CycleDiffusion(),
            make_backbone(prediction_type=prediction),
            request,
            (3,),
            num_steps=8,
            ddim_noise=ddim_noise,
            **EQUAL,
        ).chosen
        torch.testing.assert_close(ours.image, reconstruction, rtol=0, atol=2e-5)


def test_without_noise_the_path_is_straight_and_the_edit_still_lands_on_the_target() -> None:
    """At ddim_noise 0 the source's z is alpha z0 + sigma eps with one eps, and each level adds the difference of the
    two flows: on Gaussian data of one deviation the mean moves from the source's to the target's."""
    model = Gaussians({"": (0.0, 0.5), "a": (0.3, 0.5), "b": (-0.4, 0.5)})
    result = fit_and_edit(
        CycleDiffusion(),
        model,
        drawn("a", source_text="a", target_text="b"),
        strength=1.0,
        num_steps=100,
        guidance_scale=1.0,
        ddim_noise=0.0,
    )
    shift = result.chosen[0].image - result.reconstruction
    assert float(shift.std()) < 1e-4  # the same for every number
    assert float(shift.mean()) == pytest.approx(-0.7, abs=0.05)


def test_at_strength_0_the_reconstruction_comes_back_and_nothing_is_computed() -> None:
    model = Gaussians()
    state = fit(CycleDiffusion(), model, drawn(source_text="a"))
    result = edit(CycleDiffusion(), model, state, strength=0.0)
    assert torch.equal(result.chosen[0].image, result.reconstruction)
    assert model.calls == []


def test_seeds_are_sampled_together_up_to_the_largest_batch() -> None:
    model = Gaussians()
    state = fit(CycleDiffusion(), model, drawn(source_text="a"))
    values = {"strength": 0.5, "num_steps": 4, "guidance_scale": 2.0}
    chosen = edit(CycleDiffusion(), model, state, range(3), max_batch=2, **values).chosen
    # Two steps; each calls the network once for the source, unguided, and once for the target.
    assert [rows for rows, _ in model.calls] == [2, 4, 2, 4, 1, 2, 1, 2]
    for candidate in chosen:
        (alone,) = edit(CycleDiffusion(), model, state, (candidate.seed,), **values).chosen
        torch.testing.assert_close(alone.image, candidate.image, rtol=0, atol=1e-5)
    assert (chosen[0].image - chosen[1].image).abs().max() > 0.01
