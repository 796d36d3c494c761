"""Checkpoints: what is found is what was reached, nothing half-done is written, and time only goes forward."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from imagic.core import tensor_files
from imagic.core.checkpoint import Checkpoint
from imagic.core.errors import StateError


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.checkpoint.safetensors"


def at_every_step(path: Path, key: str = "k") -> Checkpoint:
    return Checkpoint(path, key, seconds=0, clock=Clock())


def test_what_is_found_is_what_was_reached(path: Path) -> None:
    held = torch.tensor([1.0, 2.0])
    first = at_every_step(path)
    done = first.stage("first")
    done.reached(3, {"z": torch.tensor(5.0)}, {"curve": [[0, 0.1], [3, 1 / 3]]}, finished=True)
    running = first.stage("second")
    running.holds(lambda: {"w": held})
    running.changing()
    held += 1
    running.reached(1)
    again = at_every_step(path)
    assert again.place == "step 1 of stage 'second'"
    one, two, three = (again.stage(name) for name in ("first", "second", "third"))
    assert (one.step, one.finished, one.values) == (3, True, {"curve": [[0, 0.1], [3, 1 / 3]]})
    assert torch.equal(one.tensors["z"], torch.tensor(5.0))
    assert (two.step, two.finished) == (1, False)
    assert torch.equal(two.tensors["w"], torch.tensor([2.0, 3.0]))
    assert (three.step, three.finished, three.tensors, three.values) == (0, False, {}, {})


def test_what_has_been_put_back_is_let_go_and_written_from_where_it_is_now(path: Path) -> None:
    kept = at_every_step(path)
    stage = kept.stage("only")
    stage.holds(lambda: {"w": torch.zeros(2)})
    stage.reached(1, {"noise": torch.ones(1)})
    again = at_every_step(path)
    stage = again.stage("only")
    stage.holds(lambda: {"w": torch.full((2,), 7.0)})
    assert list(stage.tensors) == ["noise"]
    again.stage("next").reached(1)
    assert torch.equal(at_every_step(path).stage("only").tensors["w"], torch.full((2,), 7.0))


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    nothing = Checkpoint()
    nothing.stage("a").reached(1, {"z": torch.ones(1)})
    assert nothing.save() is False
    assert nothing.place == ""
    assert not list(tmp_path.iterdir())


def test_it_writes_every_so_many_seconds_and_less_often_when_writing_is_slow(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, written = Clock(), []
    write = tensor_files.write

    def slow(*arguments: object) -> None:
        write(*arguments, overwrite=True)  # type: ignore[arg-type]
        written.append(clock.now)
        clock.now += seconds_of_writing

    monkeypatch.setattr(tensor_files, "write", lambda *arguments, overwrite: slow(*arguments))
    stage = Checkpoint(path, "k", seconds=30, clock=clock).stage("a")

    def steps(count: int) -> None:
        for _ in range(count):
            clock.now += 1
            stage.reached(stage.step + 1)

    seconds_of_writing = 0.0
    steps(29)
    assert written == []
    steps(31)
    assert written == [1030, 1060]
    seconds_of_writing = 6.0  # a tenth of 60
    steps(30)
    assert written == [1030, 1060, 1090]
    steps(59)
    assert len(written) == 3
    steps(1)
    assert written[3:] == [1096 + 60]


def test_the_wall_clock_plays_no_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> float:
        raise AssertionError("the wall clock may be set at any time")

    monkeypatch.setattr(time, "time", asked)
    kept = Checkpoint(path, "k", seconds=0)
    kept.stage("a").reached(1)
    assert Checkpoint(path, "k").stage("a").step == 1


def test_nothing_is_written_in_the_middle_of_an_update(path: Path) -> None:
    w = torch.zeros(1)
    kept = at_every_step(path)
    stage = kept.stage("a")
    stage.holds(lambda: {"w": w})
    stage.reached(1)
    stage.changing()
    w += 1
    assert kept.save() is True  # what was written before
    assert at_every_step(path).stage("a").step == 1
    assert torch.equal(at_every_step(path).stage("a").tensors["w"], torch.zeros(1))


def test_a_stage_that_has_not_begun_does_not_keep_others_from_being_written(path: Path) -> None:
    kept = Checkpoint(path, "k", seconds=1e9)
    kept.stage("a").reached(4, finished=True)
    kept.stage("b").changing()
    assert kept.save() is True
    again = at_every_step(path)
    assert (again.stage("a").finished, again.stage("b").step) == (True, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_never_replaces_the_last_good_state(path: Path, bad: float) -> None:
    w = torch.zeros(2)
    kept = at_every_step(path)
    stage = kept.stage("a")
    stage.holds(lambda: {"w": w})
    stage.reached(1)
    w[1] = bad
    stage.reached(2)
    assert kept.place == "step 1 of stage 'a'"
    assert torch.equal(at_every_step(path).stage("a").tensors["w"], torch.zeros(2))


def test_the_checkpoint_of_another_fit_is_not_taken(path: Path) -> None:
    at_every_step(path, "one").stage("a").reached(1)
    before = path.read_bytes()
    with pytest.raises(StateError, match="another fit"):
        at_every_step(path, "two")
    assert path.read_bytes() == before


def test_damaged_and_foreign_files_are_refused_and_left_alone(path: Path, tmp_path: Path) -> None:
    at_every_step(path).stage("a").reached(1, {"z": torch.arange(8.0)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-3] ^= 4
    for content in (
        bytes(flipped),
        whole[:-1],
        b"",
        b"\x89PNG not one of ours",
        whole.replace(b'"key":"k"', b'"kez":"k"'),
    ):
        path.write_bytes(content)
        with pytest.raises(StateError, match="damaged"):
            at_every_step(path)
        assert path.read_bytes() == content


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_checkpoint_that_cannot_be_written_costs_a_sentence_and_not_the_fit(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(tensors: dict[str, Tensor], part: Path, metadata: dict[str, str]) -> None:
        part.write_bytes(b"half of it")
        raise OSError(code, "as the system says")

    monkeypatch.setattr(tensor_files, "save_file", full)
    said: list[str] = []
    kept = Checkpoint(path, "k", 0, said.append, Clock())
    stage = kept.stage("a")
    for step in range(3):
        stage.reached(step + 1)
    (sentence,) = said
    assert ("disk is full" in sentence) == (code == errno.ENOSPC)
    assert sentence.endswith("The fit goes on without a checkpoint.")
    assert kept.save() is False
    assert not list(path.parent.iterdir())


def test_a_finished_fit_leaves_no_file(path: Path) -> None:
    kept = at_every_step(path)
    kept.stage("a").reached(1)
    assert path.exists()
    kept.remove()
    assert not path.exists()
    kept.remove()
