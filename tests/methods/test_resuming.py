"""A fit that is ended anywhere goes on where it was, and ends with the same numbers, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.checkpoint import Checkpoint
from imagic.core.errors import OptionError
from imagic.core.options import build_options
from imagic.core.types import FitRequest, Method, Progress, State
from imagic.methods.imagic import Imagic
from imagic.methods.null_text import NullText
from imagic.methods.unitune import UniTune
from tests.conftest import MakeBackbone
from tests.methods.conftest import assert_untouched, finish, snapshot

STAGES = {"embedding_steps": 4, "embedding_pairs": 2, "network_steps": 3, "network_pairs": 2, "measured_pairs": 2}
FITS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "full": (Imagic, {**STAGES, "measure_every": 2}),
    "lora": (Imagic, {**STAGES, "tuning": "lora", "rank": 2}),
    "joint": (Imagic, {**STAGES, "joint": True}),
    "early stop": (Imagic, {**STAGES, "measure_every": 1, "early_stop": 0.9}),
    "unitune": (UniTune, {"token": "zo", "network_steps": 3, "network_pairs": 2, "measured_pairs": 2}),
    "null-text": (NullText, {"num_steps": 3, "inner_steps": 2}),
}
# The stages that are kept, and so not done twice.
KEPT = {"embedding", "network", "joint", "null-text"}


@pytest.fixture
def backbone(make_backbone: MakeBackbone) -> StableDiffusionBackbone:
    return make_backbone(prediction_type="v_prediction")


@pytest.fixture
def asked(request_to_sit: FitRequest) -> FitRequest:
    return replace(request_to_sit, source_text="a photo of a standing dog")


def kept_at(path: Path) -> Checkpoint:
    """Written at every step."""
    return Checkpoint(path, "k", seconds=0, clock=lambda: 0.0)


def same(state: State, other: State) -> bool:
    equal = all(torch.equal(state.tensors[name], other.tensors[name]) for name in state.tensors)
    return equal and state.tensors.keys() == other.tensors.keys() and state.facts == other.facts


@pytest.mark.parametrize("which", FITS)
def test_ended_after_any_step_it_goes_on_with_the_same_numbers(
    backbone: StableDiffusionBackbone, asked: FitRequest, tmp_path: Path, which: str
) -> None:
    method, options = FITS[which][0](), build_options(FITS[which][0].FitOptions, FITS[which][1])
    before = snapshot(backbone.unet)
    progress, whole = finish(method.fit(backbone, asked, options))
    steps = [each for each in progress if each.stage in KEPT]
    kills = [number for number, each in enumerate(progress, start=1) if each.stage in KEPT]
    for kill in kills if which == "full" else kills[::2]:
        path = tmp_path / f"{kill}.checkpoint.safetensors"
        # What the dying process had on the disk, whatever becomes of it after.
        loop = method.fit(backbone, replace(asked, checkpoint=kept_at(path)), options)
        done = [each for each in itertools.islice(loop, kill) if each.stage in KEPT]
        loop.close()
        rest, again = finish(method.fit(backbone, replace(asked, checkpoint=kept_at(path)), options))
        assert same(again, whole), f"{which} ended after step {kill}"
        assert [each for each in rest if each.stage in KEPT] == steps[len(done) :]
    assert_untouched(backbone.unet, before)


def test_ended_twice_and_at_the_very_end(backbone: StableDiffusionBackbone, asked: FitRequest, tmp_path: Path) -> None:
    options = build_options(Imagic.FitOptions, FITS["full"][1])
    _, whole = finish(Imagic().fit(backbone, asked, options))
    path = tmp_path / "a.safetensors"
    for count in (2, 3, 1, 1):
        loop = Imagic().fit(backbone, replace(asked, checkpoint=kept_at(path)), options)
        assert len(list(itertools.islice(loop, count))) == count
        loop.close()
    rest, again = finish(Imagic().fit(backbone, replace(asked, checkpoint=kept_at(path)), options))
    assert not KEPT & {progress.stage for progress in rest}  # all seven steps were done; only the state was missing
    assert same(again, whole)


def breaking(backbone: StableDiffusionBackbone, calls: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The network gives no numbers from a call on, until what is returned is called."""
    predict, count = backbone.predict, itertools.count()

    def broken(*arguments: Any) -> torch.Tensor:
        output = predict(*arguments)
        return output * float("nan") if next(count) >= calls else output

    monkeypatch.setattr(backbone, "predict", broken)
    return lambda: monkeypatch.setattr(backbone, "predict", predict)


@pytest.mark.parametrize(
    ("calls", "sentence", "place"),
    [
        # Before a stage one call measures the fixed pairs and two the memory; a step is one call, and a measured one,
        # every second, two.
        (5, "'embedding' diverged at step 2 of 4", "step 1 of stage 'embedding'"),
        (6, "'embedding' diverged at step 3 of 4", "step 2 of stage 'embedding'"),
        (12, "'network' diverged at step 1 of 3", "step 4 of stage 'embedding'"),
        (13, "'network' diverged at step 2 of 3", "step 1 of stage 'network'"),
    ],
)
def test_what_is_no_number_stops_a_fit_and_the_last_good_state_is_kept(
    backbone: StableDiffusionBackbone,
    asked: FitRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
    sentence: str,
    place: str,
) -> None:
    method: Method = Imagic()
    options = build_options(Imagic.FitOptions, FITS["full"][1])
    _, whole = finish(method.fit(backbone, asked, options))
    before = snapshot(backbone.unet)
    mend = breaking(backbone, calls, monkeypatch)
    kept = kept_at(tmp_path / "a.safetensors")
    with pytest.raises(OptionError, match=sentence):
        finish(method.fit(backbone, replace(asked, checkpoint=kept), options))
    assert kept.place == place
    assert_untouched(backbone.unet, before)
    mend()
    _, again = finish(method.fit(backbone, replace(asked, checkpoint=kept_at(tmp_path / "a.safetensors")), options))
    assert same(again, whole)


def test_a_null_text_that_diverges_says_where(
    backbone: StableDiffusionBackbone, asked: FitRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = build_options(NullText.FitOptions, {**FITS["null-text"][1], "null_lr": 1e-3})
    breaking(backbone, 3 + 4, monkeypatch)  # three steps of inversion; a level takes one call, two updates and one step
    with pytest.raises(OptionError, match=r"'null-text at timestep \d+' diverged at step 1 of 2"):
        finish(NullText().fit(backbone, asked, options))


def test_fewer_pairs_at_once_are_the_same_fit_but_for_rounding(
    backbone: StableDiffusionBackbone, asked: FitRequest
) -> None:
    rows: list[int] = []
    predict = backbone.predict

    def counted(z: torch.Tensor, *arguments: Any) -> torch.Tensor:
        rows.append(len(z))
        return predict(z, *arguments)

    backbone.predict = counted  # type: ignore[method-assign]
    values = {**FITS["full"][1], "embedding_pairs": 5}
    seen: list[list[Progress]] = []
    for max_pairs, most in ((1024, 5), (2, 2), (1, 1)):
        rows.clear()
        options = build_options(Imagic.FitOptions, {**values, "max_pairs": max_pairs})
        seen.append(finish(Imagic().fit(backbone, asked, options))[0])
        assert max(rows) == most
    for progress in seen[1:]:
        for one, other in zip(progress, seen[0], strict=True):
            assert one.values == pytest.approx(other.values, rel=1e-3)
