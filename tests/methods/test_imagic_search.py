"""Automatic eta, warnings and stage C's variants on a model whose every answer is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.options import build_options
from imagic.core.types import EditResult, Progress, State
from imagic.methods import _imagic_search, _strength
from imagic.methods._imagic_options import EditOptions
from imagic.methods.imagic import Imagic
from tests.methods.conftest import finish
from tests.methods.fakes import INPUT, TEXTS, Answers, fitted_state, wanted

SEARCH: dict[str, Any] = {
    "guidance_scale": 1.0,
    "num_steps": 5,
    "search_steps": 3,
    "agreement_pairs": 4,
    "max_batch": 4,
}


def edit(
    state: State, seeds: tuple[int, ...] = (0,), backbone: Answers | None = None, **values: Any
) -> tuple[list[Progress], EditResult]:
    options = build_options(EditOptions, {**SEARCH, **values})
    return finish(Imagic().edit(backbone or Answers(), state, options, seeds))


def utility(eta: np.ndarray, weight: float) -> np.ndarray:
    """In closed form: agreement runs as 1 - (1 - eta)^2."""
    fits = 1 - (1 - eta) ** 2
    return np.where(fits >= 0.5, fits - weight * distance(eta) - 2 * (eta - 0.7) ** 2, -np.inf)


def distance(eta: np.ndarray) -> np.ndarray:
    """Two of three channels move, one as the agreement and one as eta^2; in units of the input's spread."""
    spread = float(fitted_state().tensors["z0"].std())
    return np.sqrt(((1 - (1 - eta) ** 2) ** 2 + eta**4) / 3) / spread


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.15, 0.3, 0.45, 2.0])
def test_the_sweep_finds_the_best_eta_of_its_grid(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strength, "MAX_RISE", math.inf)  # this model's agreement rises by hundreds
    coarse = np.linspace(0, 1, 9)
    knee = coarse[np.argmax(utility(coarse, weight))]
    gap = 1 / 8
    sides = [knee + gap * share for share in (-1 / 2, 1 / 2)]
    if knee == 1:
        sides = [knee - gap * share for share in (2 / 3, 1 / 3)]
    every = np.sort([*coarse, *sides])
    expected = every[np.argmax(utility(every, weight))]

    _, result = edit(fitted_state(), closeness_weight=weight)

    (chosen,) = result.chosen
    assert chosen.strength == pytest.approx(expected)
    *candidates, reference = result.sweep
    assert [c.strength for c in candidates] == pytest.approx(every)
    valid = np.isfinite(utility(every, weight))
    assert np.array([c.scores["utility"] for c in candidates])[valid] == pytest.approx(
        utility(every, weight)[valid], abs=1e-4
    )
    assert (reference.strength, reference.seed) == (0, 0)
    assert result.warnings == []


def test_the_untuned_model_scores_and_the_tuned_one_renders() -> None:
    backbone = Answers()
    # 7 latents of one picture: 5 candidates, then the result and the reference. No change: offset 0.
    _, result = edit(fitted_state(offset=0.0), backbone=backbone, candidates=5, refine=0)
    untuned = sum(rows for rows, scale in backbone.calls if scale == 0)
    tuned = sum(rows for rows, scale in backbone.calls if scale == 1)
    assert untuned == 7 * 4 * 2
    assert tuned == 5 * 3 + 2 * 5
    assert len(result.sweep) == 5 + 1


def test_scores_are_what_they_say() -> None:
    _, result = edit(fitted_state(), eta=0.5)
    (chosen,) = result.chosen
    image, given = chosen.image.numpy(), Answers().decode(fitted_state().tensors["z0"])[0].numpy()
    assert chosen.scores["psnr"] == pytest.approx(peak_signal_noise_ratio(given, image, data_range=2), rel=1e-4)
    # Moved by 0.75 and 0.25 in two of three channels; the input's channels are 0, 0 and -0.5.
    expected = np.sqrt((0.75**2 + 0.25**2) / 3) / np.std(np.repeat([0, 0, -0.5], 4), ddof=1)
    assert chosen.scores["distance"] == pytest.approx(expected, rel=1e-4)


def test_every_seed_gets_its_own_sweep() -> None:
    _, result = edit(fitted_state(), seeds=(4, 9, 4), candidates=3, refine=2)
    assert [c.seed for c in result.chosen] == [4, 9, 4]
    assert [c.seed for c in result.sweep] == [4] * 5 + [9] * 5 + [4]
    assert [c.strength for c in result.sweep[:5]] == [c.strength for c in result.sweep[5:10]]


def test_progress_counts_to_its_total_in_each_stage() -> None:
    progress, _ = edit(fitted_state(), candidates=6, refine=2)
    stages = list(dict.fromkeys(p.stage for p in progress))
    assert stages == ["search", "search: score", "refine", "refine: score", "render", "score"]
    for stage in stages:
        steps = [(p.step, p.total) for p in progress if p.stage == stage]
        assert steps == [(i + 1, len(steps)) for i in range(len(steps))]


def test_a_fit_that_cannot_edit_is_told() -> None:
    # The fitted text is the target, and the network was bent to give the input under it.
    stuck = fitted_state(e_opt=TEXTS["sits"])
    _, result = edit(replace(stuck, facts={**stuck.facts, "moved": 0.01}))
    assert [c.strength for c in result.chosen] == [0.7]
    told = " ".join(result.warnings)
    assert "hardly moved" in told
    assert "0.01" in told
    assert "does not rise" in told
    assert "Even at eta 1" in told


def test_a_fit_that_cannot_reconstruct_is_told() -> None:
    _, result = edit(fitted_state(e_opt=(0.6, 0.6, 0.0)), eta=0.5)
    assert len(result.warnings) == 1
    assert "At eta 0" in result.warnings[0]


def test_a_source_text_excuses_a_small_move() -> None:
    state = fitted_state(source=(0.0, 1.0, -0.5))
    quiet = replace(state, facts={**state.facts, "moved": 0.01})
    assert edit(quiet, eta=0.5)[1].warnings == []


def test_with_a_source_text_agreement_is_how_much_better_the_target_fits_than_it() -> None:
    """This model's error under a text is that of the text's own picture."""
    source = (0.2, 1.0, -0.5)
    _, result = edit(fitted_state(source=source), refine=0, mixing="lerp")
    pictures = [wanted(torch.tensor([text]))[0] for text in (source, TEXTS["sits"])]
    for candidate in result.sweep[:-1]:
        errors = [float((candidate.image - picture).square().mean()) for picture in pictures]
        assert candidate.scores["agreement"] == pytest.approx(1000 * (errors[0] - errors[1]), abs=0.05)


def test_a_fixed_eta_that_changes_nothing_is_told() -> None:
    assert "Even at eta 1" in edit(fitted_state(e_opt=TEXTS["sits"]), etas=[0.5, 1.0])[1].warnings[-1]


@pytest.mark.parametrize("kind", ["eta0", "round-trip"])
def test_the_reference(kind: str) -> None:
    """e_opt gives another picture than the input, so that the two references differ."""
    _, result = edit(fitted_state(e_opt=(0.1, 0.1, -0.5)), eta=0.5, reference=kind)
    expected = (1 - 0.9**2, 0.1**2, -0.5) if kind == "eta0" else INPUT
    assert result.reconstruction[:, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_adapter_fades_towards_high_noise() -> None:
    """DAC: w(t) = (1 - a) ((t - 999) / 999)^2 + a, at each step's own timestep."""
    backbone = Answers()
    edit(fitted_state(offset=0.1), backbone=backbone, eta=0.5, adapter_floor=0.7)
    timesteps = backbone.schedule(5).timestep[:-1].tolist()
    expected = [0.3 * ((t - 999) / 999) ** 2 + 0.7 for t in timesteps]
    assert [scale for _, scale in backbone.calls] == pytest.approx(expected)
    assert expected[0] == pytest.approx(0.7)


class Sitting:
    """An encoder that knows one text and sees the first channel of a picture, as far from the text as 1 is."""

    name = "sitting"

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        assert texts == ["sits"]
        return torch.tensor([[1.0, 0.0]])

    def embed_images(self, images: Tensor) -> Tensor:
        angle = (1 - images[:, 0].mean((1, 2))) * torch.pi / 3
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_where_asked_a_clip_measures_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text's channel is 1 - (1 - eta)^2, so the cosine runs from 1/2 to 1 and has its knee where we compute it."""
    opened: list[str] = []
    monkeypatch.setattr(_imagic_search, "open_encoder", lambda name, device: opened.append(name) or Sitting())
    _, result = edit(fitted_state(), agreement_by="clip", encoder="some/clip", refine=0, closeness_weight=0.1)
    assert opened == ["some/clip"]
    etas = np.linspace(0, 1, 9)
    cosine = np.cos((1 - etas) ** 2 * np.pi / 3)
    fits = (cosine - 0.5) / 0.5
    worth = fits - 0.1 * distance(etas) - 2 * (etas - 0.7) ** 2
    expected = etas[np.argmax(np.where(fits >= 0.5, worth, -np.inf))]
    assert [c.scores["agreement"] for c in result.sweep[:-1]] == pytest.approx(20 * cosine, abs=2e-3)
    assert result.chosen[0].strength == pytest.approx(expected)
    _, other = edit(fitted_state(), refine=0, closeness_weight=0.1)
    assert other.sweep[1].scores["agreement"] != pytest.approx(result.sweep[1].scores["agreement"], rel=0.01)


def test_without_that_clip_it_says_so_before_any_work() -> None:
    backbone = Answers()
    with pytest.raises(NotAvailable, match="no folder 'nowhere'"):
        edit(fitted_state(), backbone=backbone, agreement_by="clip", encoder="nowhere")
    assert backbone.calls == []
    # A strength that is given needs no measure.
    assert edit(fitted_state(), eta=0.5, agreement_by="clip", encoder="nowhere")[1].chosen
