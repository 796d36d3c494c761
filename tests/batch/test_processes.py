"""Processes as a crew, with work that needs no model: shared out, killed, refused, stopped."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imagic.batch import engine
from imagic.batch.processes import Processes, environment, how_ended, processors
from imagic.batch.types import Row, Summary, Task
from imagic.core.errors import ModelError
from imagic.core.types import Progress
from tests.batch.fakes import attempts, opening
from tests.bench.fakes import drain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def children_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def go(crew: Processes, tasks: list[Task], **options: Any) -> tuple[dict[str, Row], Summary, list[str]]:
    rows: dict[str, Row] = {}
    said: list[str] = []

    def keep(task: Task, row: Row) -> dict[str, float]:
        assert task.key not in rows
        rows[task.key] = row
        return {}

    _, summary = drain(engine.run(tasks, crew, keep, lambda task, how: {"error": how}, say=said.append, **options))
    return rows, summary, said


def test_two_workers_do_each_task_once_also_when_one_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tasks = [Task(f"t{i}", f"g{i}", {"number": i, "seconds": 0.2}) for i in range(6)]
    tasks[2] = Task("t2", "g2", {"number": 2, "kill": str(tmp_path / "killed")})
    tasks[4] = Task("t4", "g4", {"error": "Say it in other words."})
    told: list[Progress] = []
    with Processes(opening(log), 2) as crew:
        facts = drain(engine.opened(crew))[1]
        assert facts["threads"] == str(max(1, processors() // 2))
        rows, summary, said = go(crew, tasks, on_step=told.append)
        pids = set(crew.pids().values())
    assert summary == Summary(6, 1, 0)
    assert {key: row.get("square") for key, row in rows.items()} == {
        "t0": 0, "t1": 1, "t2": 4, "t3": 9, "t4": None, "t5": 25,
    }  # fmt: skip
    assert Counter(attempts(log)) == {"t0": 1, "t1": 1, "t2": 2, "t3": 1, "t4": 1, "t5": 1}
    assert said == ["A worker ended (it was killed by SIGKILL); what it had in hand is done again."]
    assert len({row["pid"] for row in rows.values()}) >= 2
    assert any(each.stage.startswith("t0: sleeping 0/10") for each in told)
    assert not any(alive(pid) for pid in pids)


def test_a_worker_stops_with_its_driver_soon_and_a_busy_one_too(tmp_path: Path) -> None:
    with Processes(opening(tmp_path / "log"), 1) as crew:
        drain(engine.opened(crew))
        (worker,) = crew.idle()
        crew.give(worker, Task("long", "", {"seconds": 60}))
        while not attempts(tmp_path / "log"):
            crew.events(lambda *_: None)
        (pid,) = crew.pids().values()
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert not alive(pid)


def test_work_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with (
        Processes(opening(tmp_path / "log", refuse="The model 'x' is not there."), 1) as crew,
        pytest.raises(ModelError, match="The model 'x' is not there"),
    ):
        drain(engine.opened(crew))


def test_workers_that_die_before_they_are_ready_are_not_started_for_ever(tmp_path: Path) -> None:
    with (
        Processes(opening(tmp_path / "log", die=True), 1) as crew,
        pytest.raises(ModelError, match=r"end before they are ready \(it was killed by SIGKILL\)"),
    ):
        drain(engine.opened(crew))


def test_threads_are_shared_unless_the_user_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagic.batch.processes.processors", lambda: 8)
    assert environment(0, 3) == {"OMP_NUM_THREADS": "2"}
    assert environment(0, 20) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(0, 3) == {}


def test_gpus_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [environment(place, 3)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    assert [environment(place, 3)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["3", "7", "3"]


def test_ends_in_words() -> None:
    assert how_ended(3) == "it ended with exit code 3"
    assert how_ended(-signal.SIGKILL) == "it was killed by SIGKILL"
    assert how_ended(-250) == "it was killed by signal 250"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
