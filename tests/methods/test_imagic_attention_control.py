"""Imagic's attention control: a result beside its rendering at eta 0, against control written by hand for diffusers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import AbilityError
from imagic.core.options import build_options
from imagic.core.types import Backbone, EditResult, FitRequest, State
from imagic.methods._imagic_options import EditOptions, FitOptions
from imagic.methods.imagic import Imagic
from tests.conftest import MakePipeline
from tests.methods.conftest import assert_untouched, finish, snapshot
from tests.methods.fakes import Answers, fitted_state
from tests.methods.plain_attention import denoise, sharpen

FIT: dict[str, Any] = {
    "start": "noise",
    "embedding_steps": 3,
    "embedding_pairs": 2,
    "embedding_lr": 0.1,
    "network_steps": 2,
    "network_pairs": 2,
}
GUIDANCE = {"guidance_scale": 2.5, "guidance_at_zero": 2.5}
EDIT = {"num_steps": 5, **GUIDANCE, "search_steps": 2, "candidates": 3, "refine": 1, "agreement_pairs": 2}


@pytest.fixture
def pipeline(make_pipeline: MakePipeline) -> Any:
    made = make_pipeline(prediction_type="v_prediction")
    sharpen(made.unet)
    return made


@pytest.fixture
def backbone(pipeline: Any) -> StableDiffusionBackbone:
    return StableDiffusionBackbone.from_pipeline(pipeline, name="tiny")


def fit(backbone: StableDiffusionBackbone, request: FitRequest) -> State:
    return finish(Imagic().fit(backbone, request, build_options(FitOptions, FIT)))[1]


def edit(backbone: Backbone, state: State, seeds: tuple[int, ...] = (7,), **values: Any) -> EditResult:
    return finish(Imagic().edit(backbone, state, build_options(EditOptions, {**EDIT, **values}), seeds))[1]


def test_an_edit_equals_control_written_by_hand(
    pipeline: Any, backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    state = fit(backbone, request_to_sit)
    ours = edit(backbone, state, eta=0.7, attention_control=True)
    free = edit(backbone, state, eta=0.7)

    def control(maps: Tensor, cross: bool, step: int) -> None:
        if step < (4 if cross else 2):  # 0.8 and 0.4 of 5 steps
            maps[3] = maps[2]

    e_opt, e_tgt = state.tensors["e_opt.sequence"], state.tensors["e_tgt.sequence"]
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7)).repeat(2, 1, 1, 1)
    null = backbone.encode_text([""]).tensors["sequence"]
    weights = pipeline.unet.state_dict()
    changes = {name.removeprefix("change."): t for name, t in state.tensors.items() if name.startswith("change.")}
    pipeline.unet.load_state_dict({name: weight + changes[name].float() for name, weight in weights.items()})
    texts = torch.cat([e_opt, 0.3 * e_opt + 0.7 * e_tgt])
    eta0, edited = backbone.decode(denoise(pipeline, z, texts, null, 2.5, 5, control))
    torch.testing.assert_close(ours.reconstruction, eta0, rtol=0, atol=2e-4)
    torch.testing.assert_close(ours.chosen[0].image, edited, rtol=0, atol=2e-4)
    torch.testing.assert_close(free.reconstruction, eta0, rtol=0, atol=2e-4)
    assert (free.chosen[0].image - edited).abs().max() > 0.005


def test_no_shared_step_is_no_control(backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    state = fit(backbone, request_to_sit)
    free = edit(backbone, state, etas=[0.5, 1.0])
    ours = edit(backbone, state, etas=[0.5, 1.0], attention_control=True, cross_steps=0.0, self_steps=0.0)
    for one, other in zip(ours.chosen, free.chosen, strict=True):
        torch.testing.assert_close(one.image, other.image, rtol=0, atol=1e-4)


def test_each_seed_takes_its_own_maps_in_any_batch(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    state = fit(backbone, request_to_sit)
    together = edit(backbone, state, (1, 2), etas=[0.0, 0.6], attention_control=True).chosen
    assert [(c.seed, c.strength) for c in together] == [(1, 0.0), (1, 0.6), (2, 0.0), (2, 0.6)]
    for candidate in together:
        for size in (1, 3):
            values = {"eta": candidate.strength, "attention_control": True, "max_batch": size}
            (alone,) = edit(backbone, state, (candidate.seed,), **values).chosen
            torch.testing.assert_close(alone.image, candidate.image, rtol=0, atol=1e-4)
    assert (together[1].image - together[3].image).abs().max() > 0.01


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_it_goes_with_automatic_eta_a_fading_adapter_and_any_sampler(
    backbone: StableDiffusionBackbone, request_to_sit: FitRequest, sampler: str
) -> None:
    state, before = fit(backbone, request_to_sit), snapshot(backbone.unet)
    values = {"attention_control": True, "adapter_floor": 0.7, "sampler": sampler}
    result = edit(backbone, state, **values)
    assert result.chosen[0].image.isfinite().all()
    assert [c.strength for c in result.sweep][:1] == [0.0]
    free = edit(backbone, state, eta=1.0, adapter_floor=0.7, sampler=sampler).chosen[0]
    held = edit(backbone, state, eta=1.0, **values).chosen[0]
    assert (held.image - free.image).abs().max() > 0.001
    assert_untouched(backbone.unet, before)


def test_a_family_without_maps_says_so() -> None:
    state = fitted_state()
    assert edit(Answers(), state, eta=0.5).chosen
    with pytest.raises(AbilityError, match="'answers' does not show its attention"):
        edit(Answers(), state, eta=0.5, attention_control=True)
