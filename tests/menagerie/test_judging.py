"""The judge's training: its loss against closed forms on embeddings made by hand, its labels and its threshold."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.sampling import is_held_out
from imagic.menagerie.training import judging
from imagic.menagerie.training.judging import (
    TRIOS,
    JudgeTask,
    calibrate,
    equal_error,
    identity_loss,
    triplets_right,
)
from imagic.menagerie.training.pictures import picture_store
from imagic.menagerie.training.world import draw, trio


def trios(*views: tuple[list[float], list[float], list[float]]) -> Tensor:
    rows = torch.tensor([view for each in views for view in each])
    return rows / rows.norm(dim=1, keepdim=True)


def test_the_identity_loss_of_perfect_embeddings() -> None:
    """Own second view at cosine 1, every other at 0: -log of e^10 / (e^10 + 5) for three trios, temperature 0.1."""
    basis = torch.eye(6).tolist()
    embedding = trios(*((basis[i], basis[i], basis[3 + i]) for i in range(3)))
    assert float(identity_loss(embedding)) == pytest.approx(math.log(1 + 5 * math.exp(-10)), abs=1e-6)


def test_the_identity_loss_of_blind_embeddings() -> None:
    """All alike: a guess among the second and third views of all four trios."""
    embedding = torch.ones(12, 5) / math.sqrt(5)
    assert float(identity_loss(embedding)) == pytest.approx(math.log(8), rel=1e-5)


def test_the_other_individual_in_the_same_place_counts() -> None:
    """Two trios; of the first, the other individual is as near as the second posture: a guess between the two."""
    basis = torch.eye(4).tolist()
    embedding = trios((basis[0], basis[0], basis[0]), (basis[1], basis[1], basis[2]))
    first, second = math.log(2 + 2 * math.exp(-10)), math.log(1 + 3 * math.exp(-10))
    assert float(identity_loss(embedding)) == pytest.approx((first + second) / 2, rel=1e-5)


def test_triplets_are_right_when_the_individual_is_nearer_than_the_other() -> None:
    right = ([1.0, 0.0], [0.9, 0.1], [0.1, 0.9])
    wrong = ([1.0, 0.0], [0.1, 0.9], [0.9, 0.1])
    even = ([1.0, 0.0], [0.5, 0.5], [0.5, 0.5])
    assert triplets_right(trios(right, wrong, even, right)).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("same", "other", "expected"),
    [
        ([0.9, 0.8, 0.6], [0.2, 0.0, -0.5], 0.4),  # a clean gap: its middle
        ([0.9, 0.8, 0.2], [0.3, 0.0, -0.5], 0.25),  # one of three lost on either side
        ([-0.5, -0.6], [0.5, 0.6], 0.0),  # always wrong: all lost on either side
    ],
)
def test_the_threshold_loses_as_many_on_either_side(same: list[float], other: list[float], expected: float) -> None:
    assert equal_error(torch.tensor(same), torch.tensor(other)) == pytest.approx(expected, abs=1.1e-3)


def test_a_judge_is_calibrated_on_pictures_of_one_and_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Individuals at cosine 0.8 to themselves, 0.2 to strangers: the threshold lies between."""

    def embed(images: Tensor) -> Tensor:
        views = [[math.cos(math.acos(c)), math.sin(math.acos(c))] for c in (1.0, 0.8, 0.2)]
        return torch.tensor(views * (len(images) // 3))

    drawn: list[Any] = []

    def draw(scenes: list[Any], device: object) -> Tensor:
        drawn.extend(scenes)
        return torch.zeros(len(scenes), 1)

    monkeypatch.setattr(judging, "draw", draw)
    monkeypatch.setattr(judging, "CHUNK", 3)
    judge: Any = SimpleNamespace(embed=embed)
    assert calibrate(judge, "cpu", individuals=4) == pytest.approx(0.5, abs=1e-3)
    assert len(drawn) == 12
    for one, two, other in zip(drawn[::3], drawn[1::3], drawn[2::3], strict=True):
        assert one.animals[0].coat.waves == two.animals[0].coat.waves != other.animals[0].coat.waves
        assert all(facts(one)[name] == facts(other)[name] for name in ("species", "colour"))
    assert len({scene.horizon for scene in drawn[2::3]}) == 4


def test_the_store_holds_trios_of_every_combination_in_bytes() -> None:
    scenes, pictures = picture_store(TRIOS, reuse=1, seed=0, shard=40).batch(0, 60)
    assert (pictures.dtype, pictures.shape) == (torch.uint8, (60, 3, 128, 128))
    known = [trio(number, held_out=None) for number in range(40)]
    assert all(scenes[row : row + 3] in known for row in range(0, 60, 3))
    torch.testing.assert_close(pictures[:3].float() / 127.5 - 1, draw(scenes[:3]), rtol=0, atol=1 / 255 + 1e-6)
    held_out = {is_held_out(*(facts(scene)[name] for name in ("species", "colour", "place"))) for scene in scenes}
    assert held_out == {False, True}


def test_the_task_starts_at_a_guess_and_learns_what_it_sees() -> None:
    store = picture_store(TRIOS, reuse=9, seed=0, shard=4)
    torch.manual_seed(0)
    task = JudgeTask(store)
    noise = torch.Generator().manual_seed(0)
    _, before = task.loss(0, 12, noise)
    guess = sum(math.log(len(values)) for values in FACTS.values()) / len(FACTS)
    assert before["reading"] == pytest.approx(guess, rel=0.25)
    assert before["loss"] == pytest.approx(before["reading"] + judging.IDENTITY_WEIGHT * before["contrast"], rel=1e-5)
    optimiser = torch.optim.AdamW(task.reader.parameters(), 1e-3)
    for step in range(6):
        loss, after = task.loss(step % 2, 12, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert after["reading"] < 0.8 * before["reading"]
    assert after["right"] > before["right"]
