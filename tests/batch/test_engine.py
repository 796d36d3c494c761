"""Each task ends as one row, whatever becomes of the workers: by a crew that does what the test says."""

from __future__ import annotations

from typing import Any

import pytest

from imagic.batch import engine
from imagic.batch.inline import NAME, Inline
from imagic.batch.queueing import Queue
from imagic.batch.types import Died, Finished, Row, Summary, Task
from imagic.core.errors import ModelError
from imagic.core.types import Progress
from tests.batch.fakes import FakeWork, ScriptedCrew, attempts
from tests.bench.fakes import drain


class Rows(dict[str, Row]):
    """What was kept; a task that comes twice is an error."""

    def keep(self, task: Task, row: Row) -> dict[str, float]:
        assert task.key not in self
        self[task.key] = row
        return {"count": float(len(self))}

    def lost(self, task: Task, how: str) -> Row:
        return {"error": how}


def tasks(*keys: str) -> list[Task]:
    """The first letter of a key is its group."""
    return [Task(key, key[0]) for key in keys]


def go(listed: list[Task], crew: Any, **options: Any) -> tuple[Rows, list[Progress], Summary]:
    rows = Rows()
    seen, summary = drain(engine.run(listed, crew, rows.keep, rows.lost, **options))
    return rows, seen, summary


def finished(worker: str, error: str | None = None) -> Any:
    def happen(crew: ScriptedCrew) -> list[Any]:
        del crew.busy[worker]
        return [Finished(worker, {"error": error})]

    return happen


def died(worker: str, how: str = "killed") -> Any:
    """The worker is gone, and another of a new name there."""

    def happen(crew: ScriptedCrew) -> list[Any]:
        crew.busy.pop(worker, None)
        crew.names[crew.names.index(worker)] = worker.upper()
        return [Died(worker, how)]

    return happen


def test_a_group_stays_with_its_worker_and_groups_are_shared_out() -> None:
    crew = ScriptedCrew(2, finished("b"), finished("b"))
    rows, seen, summary = go(tasks("x1", "x2", "y1", "x3", "z1", "y2"), crew, skipped=4)
    assert crew.given[:4] == [("a", "x1"), ("b", "y1"), ("b", "y2"), ("b", "z1")]
    assert [key for worker, key in crew.given if worker == "a"] == ["x1", "x2", "x3"]
    assert summary == Summary(written=6, failed=0, skipped=4)
    assert set(rows) == {"x1", "x2", "x3", "y1", "y2", "z1"}
    assert [(each.step, each.total, each.values["count"]) for each in seen] == [
        (4 + done, 10, done) for done in range(1, 7)
    ]


def test_what_a_dead_worker_had_is_done_by_others_first_and_once() -> None:
    said: list[str] = []
    crew = ScriptedCrew(1, finished("a"), died("a", "killed by SIGKILL"))
    rows, _, summary = go(tasks("x1", "x2", "x3", "y1"), crew, say=said.append)
    assert crew.given == [("a", "x1"), ("a", "x2"), ("A", "x2"), ("A", "x3"), ("A", "y1")]
    assert summary == Summary(4, 0, 0)
    assert all(row["error"] is None for row in rows.values())
    assert said == ["A worker ended (killed by SIGKILL); what it had in hand is done again."]


def test_a_task_that_kills_its_workers_is_given_up_and_the_others_are_done() -> None:
    crew = ScriptedCrew(1, died("a"), died("A"), lambda crew: [crew.busy.pop("A"), Died("A", "killed again")][1:])
    rows, _, summary = go(tasks("x1", "x2"), crew)
    assert crew.given == [("a", "x1"), ("A", "x1"), ("A", "x1"), ("A", "x2")]
    assert rows["x1"]["error"] == "Its worker ended 3 times, the last time so: killed again."
    assert rows["x2"]["error"] is None
    assert summary == Summary(2, 1, 0)


def test_an_idle_worker_that_dies_costs_nothing() -> None:
    crew = ScriptedCrew(2, died("b"))
    _, _, summary = go(tasks("x1"), crew)
    assert crew.given == [("a", "x1")]
    assert summary == Summary(1, 0, 0)


@pytest.mark.parametrize(("retry", "tried", "error"), [(0, 1, "first"), (1, 2, "second"), (2, 3, None), (5, 3, None)])
def test_a_failure_is_tried_again_after_the_others(retry: int, tried: int, error: str | None) -> None:
    crew = ScriptedCrew(1, finished("a", "first"), finished("a"), finished("a", "second"))
    rows, _, summary = go(tasks("x1", "y1"), crew, retry=retry)
    assert [key for _, key in crew.given] == ["x1", "y1", "x1", "x1"][: tried + 1]
    assert rows["x1"]["error"] == error
    assert summary == Summary(2, int(error is not None), 0)


def test_steps_within_a_task_are_told_with_the_progress_of_all() -> None:
    def steps(crew: ScriptedCrew) -> list[Any]:
        crew.tell("a", Progress("fit", 3, 9, {"loss": 0.5}))
        crew.tell("nobody", Progress("fit", 4, 9))
        return []

    told: list[Progress] = []
    _, seen, _ = go(tasks("x1"), ScriptedCrew(1, steps), skipped=2, on_step=told.append)
    assert told == [Progress("x1: fit 3/9", 2, 3, {"loss": 0.5})]
    # While nothing happens there is progress all the same, where the run can be ended.
    assert seen[0] == Progress("x1", 2, 3)


def test_this_process_is_a_crew_of_one(tmp_path: Any) -> None:
    told: list[Any] = []
    listed = [Task("a", "", {"number": 3}), Task("b", "", {"error": "Say it."}), Task("c", "", {"seconds": 0.1})]
    with Inline(lambda: FakeWork(str(tmp_path / "log"))) as crew:
        facts = drain(engine.opened(crew))[1]
        assert crew.idle() == [NAME]
        rows, _, summary = go(listed, crew, on_step=told.append)
    assert rows["a"] == {"error": None, "pid": facts["pid"], "square": 9}
    assert rows["b"]["error"] == "Say it."
    assert summary == Summary(3, 1, 0)
    assert [each.stage for each in told] == ["c: sleeping 0/10"]
    assert attempts(tmp_path / "log") == ["a", "b", "c"]


def test_what_is_not_of_one_task_ends_the_run(tmp_path: Any) -> None:
    with (
        Inline(lambda: FakeWork(str(tmp_path / "log"))) as crew,
        pytest.raises(ModelError, match="no judge"),
    ):
        go([Task("a", "", {"breaks": "There is no judge."}), Task("b", "")], crew)


def test_a_queue_gives_each_task_once() -> None:
    queue = Queue(tasks("x1", "y1", "x2"))
    assert [queue.next_for("a").key, queue.next_for("b").key] == ["x1", "y1"]  # type: ignore[union-attr]
    queue.leave("a")
    assert queue.next_for("b").key == "x2"  # type: ignore[union-attr]
    assert queue.next_for("b") is None
    queue.last(Task("y1", "y"))
    queue.first(Task("x1", "x"))
    assert [queue.next_for("c").key, queue.next_for("c").key] == ["x1", "y1"]  # type: ignore[union-attr]
    assert queue.next_for("c") is None
