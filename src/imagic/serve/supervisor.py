"""Keeps one worker alive: starts it, and starts another when it dies, later each time that it dies at once."""

from __future__ import annotations

import contextlib
import logging
import secrets
import subprocess
import sys
import threading
import time

from imagic.batch.processes import how_ended
from imagic.core.errors import OutputError
from imagic.serve.settings import Settings
from imagic.serve.store import Store

PROGRAM = ("-m", "imagic.serve.worker")
FIRST_WAIT, LONGEST_WAIT = 0.2, 30.0
LOOK = 0.1
LIVED = 10.0  # seconds after which a death is no longer one at the start
STOPPING_SECONDS = 5.0
log = logging.getLogger("imagic.serve")


class Supervisor:
    """starts: how many workers there were. Use as a context: the worker lives within it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self.starts = 0

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(STOPPING_SECONDS)
        if self._process is not None and self._thread.is_alive():
            self._process.kill()
            self._thread.join()

    @property
    def pid(self) -> int | None:
        """Of the worker, while it lives."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _keep(self) -> None:
        wait = FIRST_WAIT
        while not self._stopping.is_set():
            started = time.monotonic()
            name = secrets.token_hex(8)
            command = [sys.executable, *PROGRAM, name, self._settings.to_json()]
            # A session of its own: Ctrl-C in the terminal is for the server, which then ends the worker.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            self.starts += 1
            code = self._ended(self._process)
            if self._stopping.is_set():
                return
            log.warning("The worker ended: %s.", how_ended(code))
            with contextlib.suppress(OutputError):  # its lease runs out too
                self._store.worker_died(name, how_ended(code))
            wait = FIRST_WAIT if time.monotonic() - started > LIVED else min(2 * wait, LONGEST_WAIT)
            self._stopping.wait(wait)

    def _ended(self, process: subprocess.Popen[bytes]) -> int:
        """The worker's exit code, when it has ended; it is asked to, by the end of its input, when the server stops."""
        while True:
            if self._stopping.is_set() and process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK)
