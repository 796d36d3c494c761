"""Work without a model, and a crew whose workers do what a test says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from imagic.batch.types import Event, Finished, Row, Task, Tell
from imagic.batch.work import Opening, recording
from imagic.core import errors


@dataclass(frozen=True)
class Step:
    """As core.types.Progress, without torch, which would take a worker seconds to load."""

    stage: str
    step: int
    total: int
    values: Mapping[str, float] = field(default_factory=dict)


class FakeWork:
    """Does what a task's values say. log: a file that gets a line for each attempt.

    seconds: to take, in steps of a tenth; error: to fail with; kill: the name of a file; where it does not exist yet,
    it is made and this process killed."""

    def __init__(self, log: str) -> None:
        self.log = Path(log)

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS"), "folder": os.getcwd()}

    def do(self, task: Task, tell: Tell) -> Row:
        with self.log.open("a") as file:
            file.write(f"{task.key}\n")
        row: Row = {"error": None, "pid": os.getpid()}
        values = task.values
        if values.get("breaks"):
            raise errors.ModelError(values["breaks"])
        if (kill := values.get("kill")) and not Path(kill).exists():
            Path(kill).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if values.get("kills"):
            os.kill(os.getpid(), signal.SIGKILL)
        with recording(row):
            for step in range(round(10 * values.get("seconds", 0))):
                tell(Step("sleeping", step, 10))
                time.sleep(0.1)
            sys.stdout.write("what libraries print is no answer\n")
            if values.get("error"):
                raise errors.TextError(values["error"])
            row["square"] = values.get("number", 0) ** 2
        return row


def open_fake(log: str, refuse: str = "", die: bool = False) -> FakeWork:
    if refuse:
        raise errors.ModelError(refuse)
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    return FakeWork(log)


def opening(log: Path, **values: Any) -> Opening:
    return Opening("tests.batch.fakes:open_fake", {"log": str(log), **values})


def attempts(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


class ScriptedCrew:
    """Workers a, b, ... that answer when the script says. rounds: for each call of `events` what happens, a list of
    functions of this crew; without any, each busy worker finishes. given: (worker, key) in order."""

    def __init__(self, count: int, *rounds: Any) -> None:
        self.names = [chr(ord("a") + index) for index in range(count)]
        self.rounds = deque(rounds)
        self.busy: dict[str, Task] = {}
        self.given: list[tuple[str, str]] = []
        self.tell: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.busy.clear()

    def facts(self) -> Mapping[str, Any]:
        return {}

    def idle(self) -> Sequence[str]:
        return [name for name in self.names if name not in self.busy]

    def give(self, worker: str, task: Task) -> None:
        assert worker not in self.busy
        self.busy[worker] = task
        self.given.append((worker, task.key))

    def events(self, tell: Any) -> Sequence[Event]:
        self.tell = tell
        if self.rounds:
            return list(self.rounds.popleft()(self))
        return [Finished(worker, {"error": None}) for worker in [*self.busy] if self.busy.pop(worker)]
