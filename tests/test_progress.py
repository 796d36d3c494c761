"""What is told while a computation goes on: the time left, previews, and that it can be ended."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch

import imagic
from imagic import api
from imagic._progress import finish, with_previews
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import Cancelled
from imagic.core.sampling import LatentProgress
from imagic.core.types import Progress
from tests.conftest import build_pipeline
from tests.test_api import EDIT, FIT, TEXT


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_the_seconds_left_follow_the_pace_of_the_stage() -> None:
    clock, seen = Clock(), []

    def work() -> Generator[Progress, None, str]:
        for stage, first, pace in (("a", 1, 2.0), ("b", 7, 5.0)):  # the second one was begun before
            for step in range(first, 11):
                clock.now += pace
                yield Progress(stage, step, 10)
        return "done"

    assert finish(work(), seen.append, "seed 3: ", clock) == "done"
    assert {each.stage for each in seen} == {"seed 3: a", "seed 3: b"}
    left = {(each.stage[-1], each.step): each.seconds_left for each in seen}
    assert left["a", 1] is None
    assert left["b", 7] is None
    assert [left["a", step] for step in (2, 5, 10)] == pytest.approx([16, 10, 0])
    assert [left["b", step] for step in (8, 10)] == pytest.approx([10, 0])


def test_the_wall_clock_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> float:
        raise AssertionError("the wall clock may be set at any time")

    def work() -> Generator[Progress, None, None]:
        yield Progress("a", 1, 2)
        yield Progress("a", 2, 2)

    monkeypatch.setattr(time, "time", asked)
    finish(work(), lambda progress: None)


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny")


@pytest.fixture(scope="module")
def pixels() -> Any:
    return np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_previews_show_what_the_network_sees_and_change_nothing(backbone: StableDiffusionBackbone, pixels: Any) -> None:
    seen: list[Progress] = []
    fitted = imagic.fit(pixels, TEXT, model=backbone, options=FIT)
    plain = imagic.edit(fitted, eta=1.0, options=EDIT)
    shown = imagic.edit(
        fitted, eta=1.0, options=EDIT, on_progress=api.with_previews(seen.append, backbone, seconds=0.0)
    )
    assert shown.picture(0).pixels_sha256 == plain.picture(0).pixels_sha256
    rendering = [each for each in seen if each.stage == "render"]
    assert len(rendering) == 2
    for each in rendering:
        assert isinstance(each, LatentProgress)
        with torch.no_grad():
            assert each.preview is not None
            assert torch.equal(each.preview, backbone.decode(each.x0_hat[:1])[0])


def test_previews_come_at_most_so_often(backbone: StableDiffusionBackbone) -> None:
    clock, seen = Clock(), []
    report = with_previews(seen.append, backbone, 2.0, clock)
    z = torch.zeros(3, 4, 8, 8)
    for _ in range(6):
        report(LatentProgress("render", 1, 6, z=z, x0_hat=z))
        clock.now += 1
    report(Progress("score", 1, 1))
    assert [each.preview is not None for each in seen] == [True, False, True, False, True, False, False]
    assert seen[0].preview.shape == (3, 16, 16)


def test_a_callback_ends_the_work_at_its_step(backbone: StableDiffusionBackbone, pixels: Any) -> None:
    seen: list[tuple[str, int]] = []

    def cancel(progress: Progress) -> None:
        seen.append((progress.stage, progress.step))
        if len(seen) == 3:
            raise Cancelled

    before = {name: tensor.clone() for name, tensor in backbone.unet.state_dict().items()}
    with pytest.raises(Cancelled):
        imagic.fit(pixels, TEXT, model=backbone, options=FIT, on_progress=cancel)
    assert seen == [("embedding", 1), ("embedding", 2), ("network", 1)]
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.unet.state_dict().items())
