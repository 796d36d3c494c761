"""Who does what next: a group of tasks goes to one worker, and its rest to others when that worker is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from imagic.batch.types import Task


class Queue:
    """Tasks in groups, the groups in the order of their first tasks."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            groups.setdefault(task.group, []).append(task)
        for group in groups.values():
            group.reverse()  # taken from the end
        self._groups = deque(groups.values())
        self._given: dict[str, list[Task]] = {}

    def next_for(self, worker: str) -> Task | None:
        """The next task of the worker's group, else the first of another group; None where all are given out."""
        if not self._given.get(worker):
            if not self._groups:
                return None
            self._given[worker] = self._groups.popleft()
        return self._given[worker].pop()

    def first(self, task: Task) -> None:
        """Try a task again, before all others."""
        self._groups.appendleft([task])

    def last(self, task: Task) -> None:
        """Try a task again, after all others."""
        self._groups.append([task])

    def leave(self, worker: str) -> None:
        """A worker is gone: what it has not begun of its group is for others, and comes next."""
        if rest := self._given.pop(worker, None):
            self._groups.appendleft(rest)
