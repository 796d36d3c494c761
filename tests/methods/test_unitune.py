"""UniTune against a plain loop over diffusers' model, against SDEdit, and against diffusers' own text to image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core import seeds
from imagic.core.errors import OptionError, StateError
from imagic.core.losses import stratified_pairs
from imagic.core.options import build_options
from imagic.core.types import Candidate, FitRequest, State
from imagic.methods._imagic_fit import SD1_PARAMETERS, network_rate
from imagic.methods.sdedit import SDEdit, SDEditEdit, SDEditFit
from imagic.methods.unitune import UniTune, UniTuneEdit, UniTuneFit
from tests.conftest import MakePipeline
from tests.methods.conftest import assert_untouched, finish, snapshot
from tests.methods.test_imagic_fit import PlainImagic

LATENT = (4, 8, 8)
FIT: dict[str, Any] = {"token": "zo", "network_steps": 4, "network_pairs": 2, "measured_pairs": 2}
EDIT: dict[str, Any] = {"num_steps": 5, "guidance_scale": 3.0}


def fit(backbone: StableDiffusionBackbone, request: FitRequest, **values: Any) -> State:
    return finish(UniTune().fit(backbone, request, build_options(UniTuneFit, {**FIT, **values})))[1]


def edit(backbone: StableDiffusionBackbone, state: State, seed: int = 3, **values: Any) -> Candidate:
    options = build_options(UniTuneEdit, {**EDIT, **values})
    (candidate,) = finish(UniTune().edit(backbone, state, options, (seed,)))[1].chosen
    return candidate


@pytest.mark.parametrize(("strength", "sampler"), [(0.0, "ddim"), (0.5, "ddim"), (1.0, "ddim"), (0.8, "dpmpp_2m")])
def test_without_tuning_it_is_sdedit(
    v_backbone: StableDiffusionBackbone, request_to_sit: FitRequest, strength: float, sampler: str
) -> None:
    ours = edit(v_backbone, fit(v_backbone, request_to_sit, network_steps=0), strength=strength, sampler=sampler)
    request = replace(request_to_sit, target_text=f"zo {request_to_sit.target_text}")
    _, state = finish(SDEdit().fit(v_backbone, request, SDEditFit()))
    options = build_options(SDEditEdit, {**EDIT, "strength": strength, "sampler": sampler})
    _, result = finish(SDEdit().edit(v_backbone, state, options, (3,)))
    assert torch.equal(ours.image, result.chosen[0].image)
    assert ours.strength == strength


def test_the_schedule_is_the_ports_whatever_imagics_is() -> None:
    usual = UniTuneFit()
    assert (usual.network_steps, usual.network_pairs, usual.network_lr, usual.cooldown) == (100, 4, 2.26e-5, 0.0)


@pytest.mark.parametrize("parts", [["attn2"], []])
def test_the_network_is_tuned_as_in_a_plain_loop(
    make_pipeline: MakePipeline, request_to_sit: FitRequest, parts: list[str]
) -> None:
    plain = PlainImagic(make_pipeline(prediction_type="v_prediction"), request_to_sit.image, "zo")
    backbone = StableDiffusionBackbone.from_pipeline(make_pipeline(prediction_type="v_prediction"), name="tiny")
    state = fit(backbone, request_to_sit, parts=parts, network_lr=1e-6)
    before = snapshot(plain.unet)
    generator = seeds.generator(seeds.derive(5, "imagic-network"))
    batches = [stratified_pairs(2, backbone.levels, LATENT, generator) for _ in range(4)]
    chosen: dict[str, Tensor] = {name: p for name, p in plain.unet.named_parameters() if not parts or ".attn2." in name}
    rate = 1e-6 * (859_520_964 / sum(p.numel() for p in chosen.values())) ** 0.5
    plain.minimise(list(chosen.values()), rate, plain.e_tgt, batches)
    changes = {name.removeprefix("change."): t for name, t in state.tensors.items() if name.startswith("change.")}
    assert changes.keys() == chosen.keys()
    for name, weight in chosen.items():
        moved = weight.detach() - before[name]
        torch.testing.assert_close(changes[name].float(), moved, rtol=0, atol=0.05 * rate)
        assert moved.abs().max() > 2 * rate or name.endswith("to_out.0.bias")


def test_the_rate_on_sd1s_cross_attention_is_the_ports() -> None:
    """Six blocks of 1280 channels, five of 640 and of 320: four projections, a text of 768 channels, one bias."""
    cross_attention = sum(
        blocks * (2 * width**2 + 2 * 768 * width + width) for blocks, width in ((6, 1280), (5, 640), (5, 320))
    )
    weight = torch.nn.Parameter(torch.empty(cross_attention, device="meta"))
    assert network_rate([weight], UniTuneFit()) == pytest.approx(1e-4, rel=1e-3)
    assert SD1_PARAMETERS > cross_attention == 43_962_560


def test_pure_noise_gives_what_diffusers_renders(make_pipeline: MakePipeline, request_to_sit: FitRequest) -> None:
    backbone = StableDiffusionBackbone.from_pipeline(make_pipeline(prediction_type="v_prediction"), name="tiny")
    state = fit(backbone, request_to_sit, parts=[], network_lr=2e-5)
    ours = edit(backbone, state, start="noise", strength=0.3, num_steps=4)
    pipeline = make_pipeline(prediction_type="v_prediction")
    pipeline.set_progress_bar_config(disable=True)

    def render() -> Tensor:
        z = pipeline(
            f"zo {request_to_sit.target_text}",
            guidance_scale=3.0,
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(3),
            output_type="latent",
        ).images
        return backbone.decode(z)[0]

    untuned = render()
    changes = {name.removeprefix("change."): t for name, t in state.tensors.items() if name.startswith("change.")}
    weights = pipeline.unet.state_dict()
    pipeline.unet.load_state_dict({name: weight + changes[name].float() for name, weight in weights.items()})
    torch.testing.assert_close(ours.image, render(), rtol=0, atol=2e-4)
    assert (ours.image - untuned).abs().max() > 0.01  # the tuning matters here


def test_one_fit_serves_other_targets(v_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    state = fit(v_backbone, request_to_sit)
    other = fit(v_backbone, replace(request_to_sit, target_text="a cat"))
    assert torch.equal(edit(v_backbone, state, target_text="a cat").image, edit(v_backbone, other).image)
    assert (edit(v_backbone, state).image - edit(v_backbone, other).image).abs().max() > 0.01


def test_what_the_token_leaves_no_room_for_is_said(
    v_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    long = " ".join(["dog"] * 7 + ["cat", "grass"])
    state = fit(v_backbone, replace(request_to_sit, target_text=long))
    _, result = finish(UniTune().edit(v_backbone, state, build_options(UniTuneEdit, EDIT), (3,)))
    assert list(result.warnings) == [
        "With the token the text is too long for the model, which does not see 'grass': shorten it."
    ]
    short = finish(UniTune().edit(v_backbone, fit(v_backbone, request_to_sit), build_options(UniTuneEdit, EDIT), (3,)))
    assert not short[1].warnings


def test_unusable_options_and_states_are_refused(
    v_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    with pytest.raises(OptionError, match="token"):
        build_options(UniTuneFit, {"token": " "})
    with pytest.raises(OptionError, match="'attn9'"):
        fit(v_backbone, request_to_sit, parts=["attn9"])
    state = fit(v_backbone, request_to_sit)
    for facts in ({k: v for k, v in state.facts.items() if k != "change"}, {**state.facts, "change": 1}):
        with pytest.raises(StateError, match="damaged"):
            edit(v_backbone, replace(state, facts=facts))


def test_the_weights_are_restored_however_it_ends(
    v_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    before = snapshot(v_backbone.unet)
    options: Any = build_options(UniTuneFit, FIT)
    loop = UniTune().fit(v_backbone, request_to_sit, options)
    next(loop)
    loop.close()
    assert_untouched(v_backbone.unet, before)
    edits = UniTune().edit(v_backbone, fit(v_backbone, request_to_sit), build_options(UniTuneEdit, EDIT), (3,))
    next(edits)
    edits.close()
    assert_untouched(v_backbone.unet, before)
