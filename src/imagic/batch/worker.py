"""A worker apart from the driver: it opens its work once, then does one task after the other.

`Seat` is one wherever it is. As a program it is a process that reads tasks from its standard input and answers on its
standard output, both JSON lines; it ends when its input does, which it also does when the driver is killed.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from imagic.batch.journal import plain
from imagic.batch.types import Task, Tell, Work
from imagic.batch.work import Opening
from imagic.core import errors
from imagic.core.errors import Cancelled, ImagicError

if TYPE_CHECKING:
    from imagic.core.types import Progress

PATIENCE = 5.0  # seconds for the present step, when the input has ended
STEP_SECONDS = 0.3  # between two steps that are told

Answer = dict[str, Any]


class Seat:
    """Where the work of one worker is done. opening, task: as JSON, since they come from elsewhere. folder: to stand
    in, so that relative paths mean what they mean to the driver; "" stays.

    An answer holds one of "facts", "row" and "broken", the last with the kind of error and its text, see `problem`."""

    def __init__(self, opening: str, folder: str = "") -> None:
        if folder:
            os.chdir(folder)
        self._opening = opening
        self._work: Work | None = None

    def open(self) -> Answer:
        """Load what the work needs."""
        try:
            self._work = Opening.from_json(self._opening).open()
            return {"facts": plain(self._work.facts)}
        except Exception as error:
            return _broken(error)

    def do(self, task: str, tell: Tell = lambda progress: None) -> Answer:
        """Do a task, once the work is open. Raises Cancelled if `tell` does."""
        if self._work is None:
            raise RuntimeError("the work is not open")
        try:
            return {"row": plain(self._work.do(Task(**json.loads(task)), tell))}
        except Cancelled:
            raise
        except Exception as error:
            return _broken(error)


def problem(broken: tuple[str, str]) -> Exception:
    """The error of an answer, for the driver to raise: an ImagicError of its kind, or a bug with its traceback."""
    name, text = broken
    kind = getattr(errors, name, None)
    return kind(text) if isinstance(kind, type) and issubclass(kind, ImagicError) else RuntimeError(text)


def _broken(error: Exception) -> Answer:
    known = isinstance(error, ImagicError)
    return {"broken": [type(error).__name__, str(error) if known else traceback.format_exc()]}


def main() -> None:
    """The program. Its first line of input is the opening, each further one a task."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    lock, stopping, tasks = threading.Lock(), threading.Event(), queue.SimpleQueue[str | None]()

    def answer(value: Answer) -> None:
        with lock:
            answers.write(json.dumps(value) + "\n")
            answers.flush()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(line)
        stopping.set()
        tasks.put(None)
        time.sleep(PATIENCE)
        os._exit(1)

    told = 0.0

    def tell(progress: Progress) -> None:
        nonlocal told
        if stopping.is_set():
            raise Cancelled
        if time.monotonic() - told >= STEP_SECONDS:
            told = time.monotonic()
            answer({"step": [progress.stage, progress.step, progress.total, dict(progress.values)]})

    seat = Seat(sys.stdin.readline())
    threading.Thread(target=listen, daemon=True).start()
    answer(seat.open())
    try:
        while (task := tasks.get()) is not None:
            answer(seat.do(task, tell))
    except (Cancelled, BrokenPipeError):  # the driver is gone, or about to
        pass
    os._exit(0)  # taking torch down would take seconds


if __name__ == "__main__":
    main()
