"""What the engine works with: tasks, the work that a worker does on them, and the crew that the workers are.

A worker holds a model and does one task after the other; it may be this process, another one, or an actor of a cluster.
Tasks and rows are plain JSON values, so that they go everywhere; pictures go as paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

if TYPE_CHECKING:  # so that a worker is there before torch is
    from imagic.core.types import Progress

# What became of a task. "error" is None, or the sentence that says what went wrong.
Row: TypeAlias = dict[str, Any]
Tell: TypeAlias = "Callable[[Progress], None]"


@dataclass(frozen=True)
class Task:
    """One row to be made. key: unique in a run, and shown. group: tasks of one group share something expensive, such as
    a fit, and one worker does them one after the other. values: all that a worker needs to know."""

    key: str
    group: str
    values: Mapping[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """What one worker does with its model. facts: of model and machine, plain JSON values."""

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def do(self, task: Task, tell: Tell) -> Row:
        """The row of a task, also where it fails. tell: hears of each step, and may raise to end the work there.

        What this raises ends the whole run."""


@dataclass(frozen=True)
class Finished:
    """A worker has made the row of its task."""

    worker: str
    row: Row


@dataclass(frozen=True)
class Died:
    """A worker is gone, whatever it had in hand; another takes its place. how: in words."""

    worker: str
    how: str


Event: TypeAlias = Finished | Died


class Crew(Protocol):
    """Workers. Within its context they live; after it they are gone, and what they had in hand is not done."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def facts(self) -> Mapping[str, Any] | None:
        """Those of the first worker that was ready; None before."""

    def idle(self) -> Sequence[str]:
        """The workers that are ready and have nothing to do."""

    def give(self, worker: str, task: Task) -> None:
        """Give an idle worker its task. That it died meanwhile is told by `events`."""

    def events(self, tell: Callable[[str, Progress], None]) -> Sequence[Event]:
        """What happened since the last call, after a moment at most; of this process's own work, when its row is made.

        tell: hears of the steps of workers, where they can be heard. Raises what a worker raised on opening its work,
        or out of it."""


@dataclass(frozen=True)
class Summary:
    """Rows of a run: written (failed ones among them), and skipped because they were there already."""

    written: int
    failed: int
    skipped: int
