"""What holds for every method, on the bundled model: a new one enters through the registry and needs an entry in CASES.

Few steps: whether a picture is good is not asked here, only what the contracts in core.types promise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imagic.backbones import loading
from imagic.backbones.fingerprint import fingerprint
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import AbilityError, OptionError, StateError, TextError
from imagic.core.options import build_options, strength_name
from imagic.core.registry import Group, method, names
from imagic.core.state import load_state, save_state
from imagic.core.types import Ability, Candidate, EditResult, FitRequest, Method, Progress, State
from imagic.menagerie.render import render
from imagic.menagerie.sampling import sample_scene
from tests.methods.conftest import finish

SEEDS = (3, 4)


@dataclass(frozen=True)
class Case:
    """Options with which a method does little work, and whether a seed matters."""

    fit: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] = field(default_factory=dict)
    draws: bool = True


CASES = {
    "cycle_diffusion": Case(edit={"num_steps": 3}),
    "ddib": Case(fit={"num_steps": 2}, draws=False),
    "diffedit": Case(fit={"num_steps": 3}, edit={"mask_noises": 2}),
    "encode_decode": Case(fit={"num_steps": 3}, draws=False),
    "imagic": Case(
        fit={"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 1, "network_pairs": 1, "measured_pairs": 1},
        edit={"eta": 0.5, "num_steps": 2, "fresh_noise": 0.5},
    ),
    "instruct_pix2pix": Case(edit={"num_steps": 3}),
    "null_text": Case(fit={"num_steps": 3, "inner_steps": 1}, draws=False),
    "prompt_to_prompt": Case(fit={"num_steps": 3}, draws=False),
    "sdedit": Case(edit={"num_steps": 3}),
    "text2live": Case(fit={"num_steps": 2, "views": 1, "width": 4, "scales": 2}, draws=False),
    "unitune": Case(
        fit={"network_steps": 1, "network_pairs": 1, "measured_pairs": 1}, edit={"num_steps": 3, "guidance_scale": 3.0}
    ),
}


@dataclass(frozen=True)
class Trial:
    """A method, fitted once for all tests."""

    method: Method
    case: Case
    backbone: StableDiffusionBackbone
    request: FitRequest
    state: State
    fit_progress: Sequence[Progress]

    def edit(
        self, seeds: Sequence[int], state: State | None = None, **values: Any
    ) -> tuple[list[Progress], EditResult]:
        options = build_options(self.method.EditOptions, {**self.case.edit, **values})
        return finish(self.method.edit(self.backbone, state or self.state, options, seeds))


def weights(backbone: StableDiffusionBackbone) -> str:
    return fingerprint({"unet": backbone.unet, "vae": backbone.vae, "text_encoder": backbone.text_encoder}, {})


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    loaded = loading.load("menagerie", torch.device("cpu"), torch.float32)
    assert isinstance(loaded, StableDiffusionBackbone)
    assert Ability.INSTRUCTION in loaded.abilities
    return loaded


@pytest.fixture(scope="module")
def untouched(backbone: StableDiffusionBackbone) -> str:
    return weights(backbone)


@pytest.fixture(scope="module", params=names(Group.METHODS))
def trial(request: pytest.FixtureRequest, backbone: StableDiffusionBackbone, untouched: str) -> Trial:
    if request.param not in CASES:
        pytest.fail(f"the method '{request.param}' is registered and not on trial: give it an entry in CASES here")
    case, found = CASES[request.param], method(request.param)
    asked = FitRequest(
        render([sample_scene(5)], backbone.image_size),
        "a sitting dog",
        "a standing dog",
        instruction="make the dog sit",
        seed=1,
    )
    progress, state = finish(found.fit(backbone, asked, build_options(found.FitOptions, case.fit)))
    return Trial(found, case, backbone, asked, state, progress)


@pytest.fixture(scope="module")
def edited(trial: Trial) -> tuple[list[Progress], EditResult]:
    return trial.edit(SEEDS)


def assert_same(ones: Sequence[Candidate], others: Sequence[Candidate]) -> None:
    assert [(one.strength, one.seed) for one in ones] == [(other.strength, other.seed) for other in others]
    assert all(torch.equal(one.image, other.image) for one, other in zip(ones, others, strict=True))


def test_every_method_on_trial_is_registered() -> None:
    assert set(CASES) == set(names(Group.METHODS))


def test_pictures_have_the_inputs_size_and_range(trial: Trial, edited: tuple[Any, EditResult]) -> None:
    result = edited[1]
    assert [candidate.seed for candidate in result.chosen] == list(SEEDS)
    for image in (*(each.image for each in (*result.chosen, *result.sweep)), result.reconstruction):
        assert image.shape == trial.request.image.shape[1:]
        assert image.dtype == torch.float32
        assert image.device.type == "cpu"
        assert float(image.abs().max()) <= 1  # false for NaN
        assert float(image.std()) > 0.01
        assert not image.requires_grad
    for sentence in result.warnings:
        assert sentence.endswith(".")


def test_progress_counts_up_to_its_total(trial: Trial, edited: tuple[list[Progress], Any]) -> None:
    for seen in (trial.fit_progress, edited[0]):
        assert seen
        for stage in {progress.stage for progress in seen}:
            of_stage = [progress for progress in seen if progress.stage == stage]
            assert len({progress.total for progress in of_stage}) == 1
            assert [progress.step for progress in of_stage] == list(range(1, of_stage[0].total + 1))


def test_a_seed_means_one_picture_alone_or_in_a_batch(trial: Trial, edited: tuple[Any, EditResult]) -> None:
    """Float32 kernels sum in another order for another batch size, hence the tolerance between batches."""
    together = edited[1].chosen
    alone = [trial.edit((seed,))[1].chosen[0] for seed in SEEDS]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.image, other.image, rtol=0, atol=1e-4)
    assert_same(alone[:1], trial.edit(SEEDS[:1])[1].chosen)
    differ = float((together[0].image - together[1].image).abs().max())
    assert differ > 0.01 if trial.case.draws else differ < 1e-4


def test_a_saved_state_makes_the_same_pictures(trial: Trial, edited: tuple[Any, EditResult], tmp_path: Path) -> None:
    save_state(trial.state, tmp_path / "fit.safetensors")
    state = load_state(tmp_path / "fit.safetensors")
    assert state.facts == trial.state.facts
    assert (state.facts["target_text"], state.facts["seed"]) == ("a sitting dog", 1)
    _, result = trial.edit(SEEDS, state)
    assert_same(result.chosen, edited[1].chosen)
    assert torch.equal(result.reconstruction, edited[1].reconstruction)


def test_the_model_is_left_as_it_was(trial: Trial, edited: Any, untouched: str) -> None:
    backbone = trial.backbone
    assert weights(backbone) == untouched
    for network in (backbone.unet, backbone.vae, backbone.text_encoder):
        assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
        assert not network.training
    assert not vars(trial.method)  # nothing is kept between calls


def test_a_strength_is_checked_and_several_give_a_picture_each(trial: Trial) -> None:
    name = strength_name(trial.method.EditOptions)
    if not name:
        return
    highest = next(f for f in dataclasses.fields(trial.method.EditOptions) if f.name == name).metadata["maximum"]
    assert highest == (2 if name == "eta" else 1)
    for wrong in (-0.1, highest + 0.1, float("nan"), "much", True):
        for values in ({name: wrong}, {f"{name}s": [wrong]}):
            with pytest.raises(OptionError, match=name):
                build_options(trial.method.EditOptions, values)
    asked = {key: value for key, value in trial.case.edit.items() if key != name}
    several = replace(trial, case=replace(trial.case, edit=asked))
    seen, result = several.edit(SEEDS[:1], **{f"{name}s": [0.9, 0.4]})
    assert [candidate.strength for candidate in result.chosen] == [0.9, 0.4]
    assert float((result.chosen[0].image - result.chosen[1].image).abs().max()) > 0.01
    test_progress_counts_up_to_its_total(trial, (seen, result))


def test_unknown_options_are_refused(trial: Trial) -> None:
    for kind in (trial.method.FitOptions, trial.method.EditOptions):
        with pytest.raises(OptionError, match="nonsense"):
            build_options(kind, {"nonsense": 1})


def test_presets_are_options_of_the_fit(trial: Trial) -> None:
    for values in trial.method.presets.values():
        assert build_options(trial.method.FitOptions, values)


def test_what_is_missing_is_refused_before_any_work(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    options: Any = build_options(trial.method.FitOptions, trial.case.fit)
    monkeypatch.setattr(trial.backbone, "predict", None)
    monkeypatch.setattr(trial.backbone, "encode", None)
    for text in trial.method.texts:
        with pytest.raises(TextError, match=text.split("_")[0]):
            next(trial.method.fit(trial.backbone, replace(trial.request, **{text: " "}), options))
    for ability in trial.method.needs:
        monkeypatch.setattr(trial.backbone, "abilities", trial.method.needs - {ability})
        with pytest.raises(AbilityError, match=ability):
            next(trial.method.fit(trial.backbone, trial.request, options))


def test_foreign_states_and_edits_without_seeds_are_refused(trial: Trial) -> None:
    other = replace(trial.state, facts={**trial.state.facts, "fingerprint": "0" * 64})
    with pytest.raises(StateError, match="load that model"):
        trial.edit(SEEDS, other)
    with pytest.raises(StateError, match="nobody"):
        trial.edit(SEEDS, replace(trial.state, method="nobody"))
    for name in ("target_text", "source_text"):
        less = {key: value for key, value in trial.state.facts.items() if key != name}
        with pytest.raises(StateError, match=name):
            trial.edit(SEEDS, replace(trial.state, facts=less))
    with pytest.raises(OptionError, match="seed"):
        trial.edit(())
