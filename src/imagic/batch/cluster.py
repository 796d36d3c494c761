"""A crew of Ray actors, one for each GPU, on a cluster or on this machine (extra `ray`).

Only JSON and paths travel: pictures and results are read and written where the actors are, so a cluster needs one file
system, and imagic on each node. A node that is lost takes its actors with it; new ones start where there is room.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from imagic.batch.processes import processors
from imagic.batch.types import Died, Event, Finished, Task
from imagic.batch.work import Opening
from imagic.batch.worker import Seat, problem
from imagic.core.errors import ModelError, NotAvailable, OptionError
from imagic.core.types import Progress

LOCAL = "local"
LOOK = 0.2  # seconds that `events` waits for the first
# So many actors in a row, for each that is wanted, that end before they are ready mean that none will ever be.
MOST_STILLBORN = 3
OBJECT_STORE = 80 * 2**20  # bytes, of a local Ray: rows and paths are all that goes through it


class Cluster:
    """address: of a cluster ("auto" finds the one that this machine is a node of), or "local" for a Ray of our own that
    ends with the context. count: of actors; None for one for each GPU, or without GPUs for each node.

    Raises NotAvailable on entering where ray is not installed, and OptionError where nothing answers at the address.
    """

    def __init__(self, opening: Opening, address: str = LOCAL, count: int | None = None) -> None:
        self._opening, self._address, self._count = opening, address, count
        self._actors: dict[str, Any] = {}
        self._pending: dict[Any, str] = {}
        self._idle: list[str] = []
        self._facts: Mapping[str, Any] | None = None
        self._numbers = itertools.count(1)
        self._needs: dict[str, float] = {}
        self._stillborn = 0

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise NotAvailable("Ray is not installed: pip install 'imagic[ray]'.") from error
        self._ray = ray
        own = {
            "include_dashboard": False,
            "num_cpus": max(processors(), self._count or 1),
            "object_store_memory": OBJECT_STORE,
        }
        try:
            ray.init(
                self._address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **(own if self._address == LOCAL else {}),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise OptionError(
                f"Ray cannot be used at '{self._address}' ({error}): name a cluster that runs."
            ) from error
        self._count, self._needs = self._share()
        for _ in range(self._count):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._pending.clear()
        self._idle.clear()
        self._ray.shutdown()

    def facts(self) -> Mapping[str, Any] | None:
        return self._facts

    def idle(self) -> Sequence[str]:
        return tuple(self._idle)

    def give(self, worker: str, task: Task) -> None:
        self._idle.remove(worker)
        self._pending[self._actors[worker].do.remote(json.dumps(asdict(task)))] = worker

    def events(self, tell: Callable[[str, Progress], None]) -> Sequence[Event]:
        """Steps within a task are not heard from here."""
        waiting = list(self._pending)
        ready, _ = self._ray.wait(waiting, num_returns=1, timeout=LOOK)
        more, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        events = (self._heard(self._pending.pop(each), each) for each in dict.fromkeys([*ready, *more]))
        return [event for event in events if event is not None]

    def _heard(self, worker: str, reference: Any) -> Event | None:
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            del self._actors[worker]
            self._stillborn += 1
            if self._stillborn >= MOST_STILLBORN * (self._count or 1):
                raise ModelError(f"The actors end before they are ready ({_how_ended(error)}): use fewer.") from error
            self._start()
            return Died(worker, _how_ended(error))
        match answer:
            case {"broken": [str(kind), str(text)]}:
                raise problem((kind, text))
            case {"row": row}:
                self._idle.append(worker)
                return Finished(worker, row)
            case {"facts": facts}:
                self._facts = self._facts or facts
                self._idle.append(worker)
                self._stillborn = 0
        return None

    def _start(self) -> None:
        """One more actor, as soon as there is room for it."""
        worker = f"actor {next(self._numbers)}"
        # Never restarted by Ray: what it had in hand is ours to give to another.
        actor = (
            self._ray.remote(Seat).options(max_restarts=0, **self._needs).remote(self._opening.to_json(), os.getcwd())
        )
        self._actors[worker] = actor
        self._pending[actor.open.remote()] = worker

    def _share(self) -> tuple[int, dict[str, float]]:
        """How many actors, and what each needs of its node: a GPU where there are any, else an equal part of the
        processors, which Ray also tells torch."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes))
        count = self._count or gpus or len(nodes)
        if gpus:
            return count, {"num_gpus": 1, "num_cpus": 1}
        processors = [int(node.get("CPU", 0)) for node in nodes]
        return count, {"num_cpus": max(1, min(sum(processors) // count, *processors))}


def _how_ended(error: Exception) -> str:
    """In the first words of what Ray says, which goes on for lines."""
    return str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
