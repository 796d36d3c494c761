"""Null-text inversion against a plain Adam loop over diffusers' model, its relatives, and the cases known exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core import seeds
from imagic.core.checkpoint import Checkpoint
from imagic.core.noise import Prediction
from imagic.core.options import build_options
from imagic.core.types import Ability, EditResult, FitRequest, State
from imagic.methods._inversions import invert_image
from imagic.methods.null_text import NullText, NullTextFit
from imagic.methods.prompt_to_prompt import PromptToPromptEdit
from tests.conftest import MakeBackbone, MakePipeline
from tests.core.fakes import Gaussian, text, vp_levels
from tests.methods.conftest import assert_untouched, finish, snapshot

STEPS = 5
SOURCE = "a photo of a standing dog"


@pytest.fixture
def backbone(make_backbone: MakeBackbone) -> StableDiffusionBackbone:
    return make_backbone(prediction_type="v_prediction")


@pytest.fixture
def request_to_sit(request_to_sit: FitRequest) -> FitRequest:
    return replace(request_to_sit, source_text=SOURCE)


def fit(backbone: StableDiffusionBackbone, request: FitRequest, **values: Any) -> State:
    options = build_options(NullTextFit, {"num_steps": STEPS, "inner_steps": 3, **values})
    return finish(NullText().fit(backbone, request, options))[1]


def edit(backbone: StableDiffusionBackbone, state: State) -> EditResult:
    return finish(NullText().edit(backbone, state, PromptToPromptEdit(), (0,)))[1]


def plain_nulls(
    pipeline: Any, pivots: Tensor, source: Tensor, null: Tensor, inner_steps: int, scale: float
) -> list[Tensor]:
    """The authors' loop, with their rate and tolerance of 50 steps at the same share of the way, for the source
    text's RMS."""
    pipeline.scheduler.set_timesteps(STEPS)
    pipeline.unet.requires_grad_(False)
    z, found = pivots[0], []
    for i, t in enumerate(pipeline.scheduler.timesteps):
        at = 50 * i / STEPS
        null = null.detach().clone().requires_grad_()
        adam = torch.optim.Adam([null], lr=1e-2 * (1 - at / 100) * source.square().mean().sqrt().item())
        with torch.no_grad():
            with_text = pipeline.unet(z, t, source).sample
        for _ in range(inner_steps):
            without = pipeline.unet(z, t, null).sample
            landed = pipeline.scheduler.step(without + scale * (with_text - without), t, z).prev_sample
            loss = F.mse_loss(landed, pivots[i + 1])
            adam.zero_grad()
            loss.backward()
            adam.step()
            if loss.item() < 1e-5 + at * 2e-5:
                break
        found.append(null.detach())
        with torch.no_grad():
            without = pipeline.unet(z, t, null).sample
            z = pipeline.scheduler.step(without + scale * (with_text - without), t, z).prev_sample
    return found


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_embeddings_equal_a_plain_loop(make_pipeline: MakePipeline, request_to_sit: FitRequest, kind: str) -> None:
    backbone = StableDiffusionBackbone.from_pipeline(make_pipeline(prediction_type=kind), name="tiny")
    state = fit(backbone, request_to_sit, guidance_scale=2.0)
    source, null = (backbone.encode_text([each]).tensors["sequence"] for each in (SOURCE, ""))
    expected = plain_nulls(
        make_pipeline(prediction_type=kind), state.tensors["pivots"], source, null, inner_steps=3, scale=2.0
    )
    ours = state.tensors["nulls.sequence"]
    assert ours.shape == (STEPS, *null.shape[1:])
    # Each level moves by up to three rates of 1e-2; the noise of float32 under Adam is a small share of one.
    torch.testing.assert_close(ours, torch.cat(expected), rtol=0, atol=1e-3)
    assert (ours[-1] - null[0]).abs().max() > 0.02


def test_the_tolerance_ends_a_level(backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    """The loss is seen before an update, which is made all the same."""
    ended = fit(backbone, request_to_sit, tolerance=1.0)
    once = fit(backbone, request_to_sit, inner_steps=1)
    assert torch.equal(ended.tensors["nulls.sequence"], once.tensors["nulls.sequence"])
    more = fit(backbone, request_to_sit, inner_steps=3)
    assert not torch.equal(more.tensors["nulls.sequence"], once.tensors["nulls.sequence"])


def test_what_comes_back_is_nearer_to_the_input(backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    state = fit(backbone, request_to_sit, inner_steps=8, null_lr=0.05)
    tuned, plain = edit(backbone, state), edit(backbone, fit(backbone, request_to_sit, inversion="ddim"))
    round_trip = backbone.decode(state.tensors["z0"])[0]
    distances = [(result.reconstruction - round_trip).square().mean().sqrt() for result in (tuned, plain)]
    assert distances[0] < 0.9 * distances[1]
    errors = state.facts["errors"]
    assert errors["tuned"] < 0.9 * errors["untuned"]


class ExactModel(Gaussian):
    """The exact denoiser of Gaussian data, as far as an inversion asks of a backbone."""

    name, abilities = "exact", frozenset(Ability)


@pytest.mark.parametrize("kind", [Prediction.EPS, Prediction.V])
def test_on_gaussian_data_the_tuned_embedding_undoes_guidance(kind: Prediction) -> None:
    """There an empty text that means what the source means leaves nothing of guidance."""
    grid = vp_levels()[torch.arange(999, -1, -111)]
    z0 = 0.5 * seeds.initial_noise((1, 8, 8), [0]) + 0.8
    options = build_options(NullTextFit, {"guidance_scale": 3.0, "inner_steps": 50, "null_lr": 0.1, "tolerance": 0.0})
    model: Any = ExactModel(vp_levels(), kind)
    inversion = finish(invert_image(model, z0, grid, text(0.8), text(-0.4), options, Checkpoint()))[1]
    assert inversion.errors["untuned"] > 0.5
    assert inversion.errors["tuned"] < 0.05 * inversion.errors["untuned"]
    assert inversion.nulls is not None
    assert (inversion.nulls.tensors["sequence"] > 0.4).all()


def test_it_is_never_farther_from_the_input_than_without() -> None:
    """An empty text that is right already is spoilt by one step that is far too long, and then not used."""
    grid, z0 = vp_levels()[torch.arange(999, -1, -111)], 0.5 * seeds.initial_noise((1, 8, 8), [0]) + 0.8
    options = build_options(NullTextFit, {"guidance_scale": 3.0, "inner_steps": 1, "null_lr": 1.0})
    model: Any = ExactModel(vp_levels(), Prediction.V)
    inversion = finish(invert_image(model, z0, grid, text(0.8), text(0.8), options, Checkpoint()))[1]
    assert inversion.errors["tuned"] > 2 * inversion.errors["untuned"]
    assert inversion.nulls is None


@pytest.mark.parametrize("values", [{"inner_steps": 0}, {"guidance_scale": 1.0}])
def test_without_steps_or_guidance_it_is_ddim_inversion(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest, values: dict[str, Any]
) -> None:
    ours = fit(backbone, request_to_sit, **values)
    ddim = fit(backbone, request_to_sit, **values, inversion="ddim")
    assert ours.tensors.keys() == ddim.tensors.keys() == {"z0", "pivots"}
    one, other = edit(backbone, ours), edit(backbone, ddim)
    assert torch.equal(one.chosen[0].image, other.chosen[0].image)
    assert torch.equal(one.reconstruction, other.reconstruction)


def test_negative_prompt_inversion_frees_the_source_from_guidance(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    guided, plain = (
        edit(backbone, fit(backbone, request_to_sit, inversion="negative_prompt", guidance_scale=scale))
        for scale in (4.0, 1.0)
    )
    torch.testing.assert_close(guided.reconstruction, plain.reconstruction, rtol=0, atol=1e-4)
    assert (guided.chosen[0].image - plain.chosen[0].image).abs().max() > 0.01


def test_the_weights_are_as_before_however_a_fit_ends(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    before = snapshot(backbone.unet)
    loop = NullText().fit(backbone, request_to_sit, build_options(NullTextFit, {"num_steps": STEPS}))
    assert next(p for p in loop if p.stage == "null-text").values["loss"] > 0
    loop.close()
    assert_untouched(backbone.unet, before)
