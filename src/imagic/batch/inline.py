"""A crew of one: this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from imagic.batch.types import Event, Finished, Task, Work
from imagic.core.types import Progress

NAME = "this process"


class Inline:
    """Does each task when it is asked what happened. open: loads the work, on entering the context."""

    def __init__(self, open: Callable[[], Work]) -> None:
        self._open = open
        self._work: Work | None = None
        self._task: Task | None = None

    def __enter__(self) -> Self:
        self._work = self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._work = self._task = None

    def facts(self) -> Mapping[str, Any] | None:
        return None if self._work is None else self._work.facts

    def idle(self) -> Sequence[str]:
        return [NAME] if self._task is None else []

    def give(self, worker: str, task: Task) -> None:
        self._task = task

    def events(self, tell: Callable[[str, Progress], None]) -> Sequence[Event]:
        if self._task is None or self._work is None:
            return []
        row = self._work.do(self._task, lambda progress: tell(NAME, progress))
        self._task = None
        return [Finished(NAME, row)]
