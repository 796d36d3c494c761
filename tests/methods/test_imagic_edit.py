"""Stage C against diffusers' own pipeline, and the promises of an edit: end points, batches, saved states, weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from imagic.backbones.loading import load
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import AbilityError, OptionError, StateError
from imagic.core.options import build_options
from imagic.core.registry import check_abilities
from imagic.core.sampling import invert
from imagic.core.seeds import initial_noise
from imagic.core.state import load_state, save_state
from imagic.core.types import Ability, EditResult, FitRequest, State
from imagic.menagerie.render import render
from imagic.menagerie.sampling import sample_scene
from imagic.methods._imagic_options import EditOptions, FitOptions
from imagic.methods._imagic_render import Fitted
from imagic.methods.imagic import Imagic
from tests.conftest import MakeBackbone, MakePipeline
from tests.methods.conftest import assert_untouched, finish, snapshot

# Rates at which a few steps change the tiny network's pictures visibly.
FIT: dict[str, Any] = {
    "start": "noise",
    "embedding_steps": 4,
    "embedding_pairs": 2,
    "embedding_lr": 0.1,
    "network_steps": 3,
    "network_pairs": 2,
    "network_lr": 2e-5,
    "lora_lr": 0.1,
    "rank": 3,
    "alpha": 6.0,
    "measured_pairs": 2,
}
EDIT: dict[str, Any] = {"num_steps": 4, "search_steps": 2, "candidates": 3, "refine": 1, "agreement_pairs": 2}


def fit(backbone: StableDiffusionBackbone, request: FitRequest, **values: Any) -> State:
    return finish(Imagic().fit(backbone, request, build_options(FitOptions, {**FIT, **values})))[1]


def edit(backbone: StableDiffusionBackbone, state: State, seeds: tuple[int, ...] = (0,), **values: Any) -> EditResult:
    return finish(Imagic().edit(backbone, state, build_options(EditOptions, {**EDIT, **values}), seeds))[1]


def tuned_weights(before: dict[str, Tensor], state: State) -> dict[str, Tensor]:
    """The weights that the state describes, worked out by hand."""
    changes = {
        name.removeprefix("change."): t.float() for name, t in state.tensors.items() if name.startswith("change.")
    }
    if state.facts["change"]["kind"] == "full":
        return {name: weight + changes[name] for name, weight in before.items()}
    after = dict(before)
    for name in [name for name in changes if name.endswith("lora_A.weight")]:
        stem = name.removesuffix(".lora_A.weight")
        after[f"{stem}.weight"] = before[f"{stem}.weight"] + 6 / 3 * changes[f"{stem}.lora_B.weight"] @ changes[name]
    return after


@pytest.mark.parametrize(
    ("tuning", "sampler", "start"),
    [
        ("full", "ddim", "noise"),
        ("full", "dpmpp_2m", "noise"),
        ("lora", "ddim", "noise"),
        ("lora", "dpmpp_2m", "noise"),
        ("full", "ddim", "inversion"),
        ("lora", "dpmpp_2m", "inversion"),
    ],
)
def test_an_edit_is_what_diffusers_renders(
    make_backbone: MakeBackbone,
    make_pipeline: MakePipeline,
    request_to_sit: FitRequest,
    tuning: str,
    sampler: str,
    start: str,
) -> None:
    backbone = make_backbone(prediction_type="v_prediction")
    state = fit(backbone, request_to_sit, tuning=tuning, start=start)
    (ours,) = edit(backbone, state, (11,), eta=0.6, guidance_scale=3.5, sampler=sampler).chosen

    pipeline = make_pipeline(prediction_type="v_prediction")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler.set_timesteps(4)
    grid: dict[str, Any] = {"num_inference_steps": 4}
    if sampler == "dpmpp_2m":
        # The checkpoint's own grid and last level, which this class would space in another way.
        grid = {"timesteps": pipeline.scheduler.timesteps.tolist()}
        config = pipeline.scheduler.config
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, final_sigmas_type="sigma_min")
    plain = snapshot(pipeline.unet)
    tuned = tuned_weights(plain, state)
    text = 0.6 * state.tensors["e_tgt.sequence"] + 0.4 * state.tensors["e_opt.sequence"]
    if start == "inversion":  # words are at the target from the middle on, padding is under way
        words = len(pipeline.tokenizer(request_to_sit.target_text).input_ids)
        text[:, :words] = state.tensors["e_tgt.sequence"][:, :words]
    null = backbone.encode_text([""]).tensors["sequence"]

    def render() -> Tensor:
        z = pipeline(
            prompt_embeds=text,
            negative_prompt_embeds=null,
            guidance_scale=2.5,  # 1 at eta 0, 3.5 at eta 1
            **grid,
            generator=torch.Generator().manual_seed(11),
            latents=state.tensors.get("start"),
            output_type="latent",
        ).images
        with torch.no_grad():
            return pipeline.vae.decode(z / 0.7 + 0.1).sample[0].clamp(-1, 1)

    before = render()
    pipeline.unet.load_state_dict(tuned)
    after = render()
    assert (after - before).abs().max() > 0.01  # the tuning matters here
    torch.testing.assert_close(ours.image, after, rtol=0, atol=2e-4)


def test_the_inputs_own_noise_is_that_of_its_inversion(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    """It is where DDIM inversion ends under the fitted text and the tuned network."""
    state = fit(eps_backbone, request_to_sit, start="inversion", inversion_steps=7)
    fitted = Fitted.unpack(eps_backbone, state, "")
    with eps_backbone.changed(fitted.change):
        _, trajectory = finish(invert(eps_backbone, fitted.z0, eps_backbone.schedule(7), fitted.fitted))
    assert torch.equal(state.tensors["start"], trajectory[0])


def test_the_inputs_own_noise_is_one_for_all_seeds(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    state = fit(eps_backbone, request_to_sit, start="inversion")
    result = edit(eps_backbone, state, (1, 2), eta=0.5)
    assert torch.equal(result.chosen[0].image, result.chosen[1].image)


def test_the_inputs_own_noise_brings_it_back_without_any_fit() -> None:
    """A random network shows nothing here: its inversion is not stable."""
    bundled = cast(StableDiffusionBackbone, load("menagerie", "cpu", torch.float32))
    request = FitRequest(render([sample_scene(3)]), "a sitting dog")
    nothing = {"embedding_steps": 0, "network_steps": 0}
    own, fresh = (
        edit(bundled, fit(bundled, request, start=start, inversion_steps=50, **nothing), eta=0.0, num_steps=50)
        for start in ("inversion", "noise")
    )
    assert own.chosen[0].scores["psnr"] > 28 > 20 > fresh.chosen[0].scores["psnr"]


def test_fresh_noise_is_mixed_with_the_inputs_own(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    state = fit(eps_backbone, request_to_sit, start="inversion")
    fitted, fresh = Fitted.unpack(eps_backbone, state, ""), initial_noise(state.tensors["z0"].shape[1:], [3, 4])
    torch.testing.assert_close(fitted.starts([3, 4], 0.36), 0.8 * state.tensors["start"] + 0.6 * fresh)
    assert torch.equal(fitted.starts([3, 4], 1.0), fresh)
    mixed = edit(eps_backbone, state, (1, 2), eta=0.5, fresh_noise=0.3)
    assert not torch.equal(mixed.chosen[0].image, mixed.chosen[1].image)


def test_guidance_may_rise_with_eta(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    state = fit(eps_backbone, request_to_sit)
    rising = edit(eps_backbone, state, (11,), etas=(0.0, 0.5, 1.0, 1.5), guidance_scale=4.0, guidance_at_zero=1.0)
    for eta, scale, result in zip((0.0, 0.5, 1.0, 1.5), (1.0, 2.5, 4.0, 4.0), rising.chosen, strict=True):
        (alone,) = edit(eps_backbone, state, (11,), eta=eta, guidance_scale=scale, guidance_at_zero=scale).chosen
        torch.testing.assert_close(result.image, alone.image, rtol=0, atol=1e-5)
    (other,) = edit(eps_backbone, state, (11,), eta=0.5, guidance_scale=4.0, guidance_at_zero=4.0).chosen
    assert (other.image - rising.chosen[1].image).abs().max() > 1e-3


def test_the_end_points_are_exact(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    state = fit(eps_backbone, request_to_sit)
    fitted = Fitted.unpack(eps_backbone, state, "")
    rows = fitted.mixed([0.0, 1.0, 0.5], EditOptions()).tensors["sequence"]
    assert torch.equal(rows[0:1], state.tensors["e_opt.sequence"])
    assert torch.equal(rows[1:2], state.tensors["e_tgt.sequence"])
    assert torch.equal(
        state.tensors["e_tgt.sequence"], eps_backbone.encode_text([request_to_sit.target_text]).tensors["sequence"]
    )


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_saved_state_makes_the_same_pixels_on_a_fresh_model(
    make_backbone: MakeBackbone, request_to_sit: FitRequest, tmp_path: Path, tuning: str
) -> None:
    backbone = make_backbone()
    state = fit(backbone, request_to_sit, tuning=tuning)
    fresh = edit(backbone, state, (1, 2))
    save_state(state, tmp_path / "fit.safetensors")
    read = load_state(tmp_path / "fit.safetensors")
    assert read.facts == state.facts
    saved = edit(make_backbone(), read, (1, 2))
    assert [c.strength for c in saved.chosen] == [c.strength for c in fresh.chosen]
    for one, other in zip([*fresh.chosen, *fresh.sweep], [*saved.chosen, *saved.sweep], strict=True):
        assert torch.equal(one.image, other.image)


def test_another_model_is_refused(make_backbone: MakeBackbone, request_to_sit: FitRequest) -> None:
    state = fit(make_backbone(), request_to_sit)
    other = make_backbone(prediction_type="v_prediction")
    with pytest.raises(StateError, match="'tiny'"):
        edit(other, state, eta=0.5)


@pytest.mark.parametrize("fact", ["learnable", "change", "target_text", "moved"])
def test_a_state_without_its_facts_is_refused(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest, fact: str
) -> None:
    state = fit(eps_backbone, request_to_sit, embedding_steps=1, network_steps=1)
    less = {name: value for name, value in state.facts.items() if name != fact}
    with pytest.raises(StateError, match=fact):
        edit(eps_backbone, replace(state, facts=less), eta=0.5, target_text="a cat")


def test_a_picture_does_not_depend_on_its_batch(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    """Float32 kernels sum in another order for another batch size: 1e-6 per call, some ten calls, hence 1e-4."""
    state = fit(eps_backbone, request_to_sit)
    together = edit(eps_backbone, state, (1, 2, 3), etas=[0.0, 0.5, 1.0]).chosen
    assert [(c.seed, c.strength) for c in together] == [(s, e) for s in (1, 2, 3) for e in (0.0, 0.5, 1.0)]
    for candidate in together:
        (alone,) = edit(eps_backbone, state, (candidate.seed,), eta=candidate.strength, max_batch=1).chosen
        torch.testing.assert_close(alone.image, candidate.image, rtol=0, atol=1e-4)
    assert (together[0].image - together[3].image).abs().max() > 0.01


def test_weights_are_restored_however_an_edit_ends(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    state = fit(eps_backbone, request_to_sit)
    before = snapshot(eps_backbone.unet)
    for floor in (None, 0.7):
        edit(eps_backbone, state, adapter_floor=floor)
        assert_untouched(eps_backbone.unet, before)
    loop = Imagic().edit(eps_backbone, state, build_options(EditOptions, EDIT), (0,))
    next(loop)
    loop.close()
    assert_untouched(eps_backbone.unet, before)
    loop = Imagic().edit(eps_backbone, state, build_options(EditOptions, EDIT), (0,))
    next(loop)
    with pytest.raises(RuntimeError, match="stop"):
        loop.throw(RuntimeError("stop"))
    assert_untouched(eps_backbone.unet, before)


def test_one_fit_under_a_source_text_serves_other_targets(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    request = FitRequest(request_to_sit.image, "a sitting dog", source_text="a standing dog")
    state = fit(eps_backbone, request)
    cat = eps_backbone.encode_text(["a sitting cat"]).tensors["sequence"]
    fitted = Fitted.unpack(eps_backbone, state, "a sitting cat")
    assert torch.equal(fitted.mixed([1.0], EditOptions()).tensors["sequence"], cat)
    assert torch.equal(fitted.mixed([0.0], EditOptions()).tensors["sequence"], state.tensors["e_opt.sequence"])

    bound = fit(eps_backbone, FitRequest(request_to_sit.image, "a sitting dog"))
    with pytest.raises(OptionError, match="source text"):
        edit(eps_backbone, bound, eta=0.5, target_text="a sitting cat")
    assert edit(eps_backbone, bound, eta=0.5, target_text="a sitting dog").chosen


def test_unusable_options_are_refused(eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest) -> None:
    with pytest.raises(OptionError, match="either"):
        build_options(EditOptions, {"eta": 0.5, "etas": [0.1]})
    for bad in ([3.0], ["a"], [float("nan")], [True]):
        with pytest.raises(OptionError, match="between 0 and 2"):
            build_options(EditOptions, {"etas": bad})
    with pytest.raises(OptionError, match="seed"):
        edit(eps_backbone, fit(eps_backbone, request_to_sit), ())


def test_a_model_that_cannot_is_refused_before_any_work(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest
) -> None:
    eps_backbone.abilities = eps_backbone.abilities - {Ability.FINE_TUNING}
    with pytest.raises(AbilityError, match="fine-tuning"):
        check_abilities(Imagic(), eps_backbone)
    with pytest.raises(AbilityError, match="fine-tuning"):
        next(Imagic().fit(eps_backbone, request_to_sit, FitOptions()))
