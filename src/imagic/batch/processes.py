"""A crew of processes on this machine, each with a model of its own and its share of the processors and GPUs."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from imagic.batch.types import Died, Event, Finished, Task
from imagic.batch.work import Opening
from imagic.batch.worker import problem
from imagic.core.errors import ModelError
from imagic.core.types import Progress

PROGRAM = ("-m", "imagic.batch.worker")
LOOK = 0.1  # seconds that `events` waits for the first
PATIENCE = 0.6  # seconds to end in, after which a worker is killed
# A place whose workers end so often in a row before they are ready stays empty.
MOST_STILLBORN = 3

Answer = dict[str, Any]


class Processes:
    """count: of workers. opening: of their work."""

    def __init__(self, opening: Opening, count: int) -> None:
        self._opening, self._count = opening, count
        self._places: dict[str, int] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._idle: list[str] = []
        self._inbox = queue.SimpleQueue[tuple[str, Answer | None]]()
        self._facts: Mapping[str, Any] | None = None
        self._numbers = itertools.count(1)
        self._stillborn = Counter[int]()

    def __enter__(self) -> Self:
        for place in range(self._count):
            self._start(place)
        return self

    def __exit__(self, *_: object) -> None:
        processes = list(self._processes.values())
        for process in processes:
            _close(process)
        deadline = time.monotonic() + PATIENCE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        self._idle.clear()

    def facts(self) -> Mapping[str, Any] | None:
        return self._facts

    def idle(self) -> Sequence[str]:
        return tuple(self._idle)

    def pids(self) -> Mapping[str, int]:
        """The process of each worker."""
        return {name: process.pid for name, process in self._processes.items()}

    def give(self, worker: str, task: Task) -> None:
        self._idle.remove(worker)
        _write(self._processes[worker], json.dumps(asdict(task)))

    def events(self, tell: Callable[[str, Progress], None]) -> Sequence[Event]:
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            worker, answer = self._inbox.get(timeout=LOOK)
            while True:
                if (event := self._heard(worker, answer, tell)) is not None:
                    found.append(event)
                worker, answer = self._inbox.get_nowait()
        return found

    def _heard(self, worker: str, answer: Answer | None, tell: Callable[[str, Progress], None]) -> Event | None:
        match answer:
            case None:
                return self._died(worker)
            case {"broken": [str(kind), str(text)]}:
                raise problem((kind, text))
            case {"step": [stage, step, total, values]}:
                tell(worker, Progress(stage, step, total, values))
            case {"row": row}:
                self._idle.append(worker)
                return Finished(worker, row)
            case {"facts": facts}:
                self._facts = self._facts or facts
                self._idle.append(worker)
                self._stillborn[self._places[worker]] = 0
        return None

    def _died(self, worker: str) -> Event:
        process, place = self._processes.pop(worker), self._places.pop(worker)
        _close(process)
        how = how_ended(process.wait())
        if worker in self._idle:
            self._idle.remove(worker)
        self._stillborn[place] += 1
        if self._stillborn[place] < MOST_STILLBORN:
            self._start(place)
        elif not self._processes:
            raise ModelError(f"The workers end before they are ready ({how}): use fewer, or more memory.")
        return Died(worker, how)

    def _start(self, place: int) -> None:
        worker = f"worker {next(self._numbers)}"
        # A session of its own: Ctrl-C in the terminal is for the driver, which then ends its workers.
        process = subprocess.Popen(
            [sys.executable, *PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | environment(place, self._count),
            start_new_session=True,
        )
        self._places[worker], self._processes[worker] = place, process
        threading.Thread(target=self._listen, args=(worker, process), daemon=True).start()
        _write(process, self._opening.to_json())

    def _listen(self, worker: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                if line.endswith("\n"):  # else it was killed while it wrote
                    self._inbox.put((worker, json.loads(line)))
        self._inbox.put((worker, None))


def environment(place: int, count: int) -> dict[str, str]:
    """What one of `count` workers gets: an equal share of the processors, unless OMP_NUM_THREADS says otherwise, for
    threads that are more than processors slow each other down; and one of the GPUs in turn."""
    import torch

    given = {}
    if "OMP_NUM_THREADS" not in os.environ:
        given["OMP_NUM_THREADS"] = str(max(1, processors() // count))
    if (gpus := torch.cuda.device_count()) > 1:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        given["CUDA_VISIBLE_DEVICES"] = (visible or [str(index) for index in range(gpus)])[place % gpus]
    return given


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def how_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"it ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it was killed by signal {-code}"


def _write(process: subprocess.Popen[str], line: str) -> None:
    """A line for a worker; if it is gone, the end of its output tells so."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(line + "\n")
        process.stdin.flush()


def _close(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
