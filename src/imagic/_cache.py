"""How fits are kept: finished ones by what they were made from, running ones as checkpoints.

One process makes a fit and the others wait for it; when it dies, another goes on from its checkpoint. What a folder
cannot do, for want of space or of permission, costs a sentence and never the fit.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from imagic._progress import OnProgress
from imagic._store import CHECKPOINT, FIT, GIGABYTE, LOCK, Store, default_folder, default_gigabytes, remove_rests
from imagic.core.checkpoint import SECONDS, Checkpoint
from imagic.core.errors import OutputError, StateError
from imagic.core.files import check_writable
from imagic.core.state import load_state, save_state
from imagic.core.types import Progress, State

LOOK = 0.2  # seconds between two looks at another's lock


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


@dataclass(frozen=True)
class Cache:
    """How fits are kept.

    folder: None for IMAGIC_CACHE_DIR, or the user's cache folder. fits: whether finished ones are kept and found again.
    checkpoint: the file of a running fit; "auto" is one in the folder, "none" is none. checkpoint_seconds: between two
    checkpoints. gigabytes: most space for all, what was not used for longest goes first; None for IMAGIC_CACHE_GB, or
    5. say: hears what could not be kept.
    """

    folder: str | os.PathLike[str] | None = None
    fits: bool = True
    checkpoint: str | os.PathLike[str] = "auto"
    checkpoint_seconds: float = SECONDS
    gigabytes: float | None = None
    say: Callable[[str], None] = _warn

    @contextlib.contextmanager
    def opened(self, key: str, on_progress: OnProgress | None = None) -> Iterator[Place]:
        """The place of the fit with that key. Within it is this process's alone; where another has it, this one waits,
        and reports so at every look. Raises OutputError where the file named for the checkpoint cannot be written."""
        store = Store(default_folder() if self.folder is None else Path(self.folder))
        most_bytes = GIGABYTE * (default_gigabytes() if self.gigabytes is None else self.gigabytes)
        named = os.fspath(self.checkpoint) not in ("auto", "none")
        if named:
            running: Path | None = check_writable(self.checkpoint, overwrite=True)
        else:
            running = None if self.checkpoint == "none" else store.path(key, CHECKPOINT)
        finished = store.path(key, FIT) if self.fits else None
        lock = running.with_name(f".{running.name}{LOCK}") if running and named else store.path(key, LOCK)
        with contextlib.ExitStack() as stack:
            if finished or (running and not named):
                with contextlib.suppress(OSError):  # what is kept there will say so
                    store.create()
            if finished or running:
                _acquire(lock, on_progress, stack)
            if running:
                remove_rests(running)
            try:
                yield Place(self, store, key, finished, running, named, most_bytes)
            finally:
                if named or not any(store.path(key, ending).exists() for ending in (FIT, CHECKPOINT)):
                    _drop(lock)


@dataclass(frozen=True)
class Place:
    """Where one fit is kept. finished, running: its files, None where that is not kept. named: the user named the file
    of the checkpoint, so that it is never removed unasked. most_bytes: for all that is kept."""

    cache: Cache
    store: Store
    key: str
    finished: Path | None
    running: Path | None
    named: bool
    most_bytes: float

    def find(self) -> State | None:
        """The finished fit, if it is there. A damaged one is dropped with a sentence."""
        if self.finished is None or not os.path.isfile(self.finished):
            return None
        try:
            state = load_state(self.finished)
        except StateError:
            self.cache.say("The fit that was kept of this is damaged: it is dropped and made again.")
            _drop(self.finished)
            return None
        with contextlib.suppress(OSError):  # a folder that can only be read
            os.utime(self.finished)
        if self.running is not None and not self.named:
            _drop(self.running)  # of a process that was killed between finishing and removing it
        return state

    def checkpoint(self) -> Checkpoint:
        """The running fit, as far as it was. A damaged one in the cache is dropped with a sentence; raises StateError
        for a named file that is damaged, no checkpoint or another fit's."""
        try:
            return self._checkpoint()
        except StateError:
            if self.named or self.running is None:
                raise
            self.cache.say(
                "The checkpoint that was kept of this fit is damaged: it is dropped, and the fit begins anew."
            )
            _drop(self.running)
            return self._checkpoint()

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.running, self.key, self.cache.checkpoint_seconds, self.cache.say)

    def keep(self, state: State) -> bool:
        """Whether the finished fit is where it should be."""
        if self.finished is None:
            return True
        try:
            save_state(state, self.finished, overwrite=True)
        except OutputError as error:
            self.cache.say(f"{error} The fit is used, but not kept.")
            return False
        self.store.prune(self.most_bytes, spared=self.key)
        return True


def _acquire(path: Path, on_progress: OnProgress | None, stack: contextlib.ExitStack) -> None:
    """Hold the lock until the stack ends; waits as long as another holds it. Where it cannot be made, none is held: two
    processes may then do the same work, and both end right."""
    lock = FileLock(path)
    while True:
        try:
            stack.enter_context(lock.acquire(timeout=0))
            return
        except Timeout:
            if on_progress is not None:
                on_progress(Progress("waiting for the process that makes this fit", 0, 1))
            time.sleep(LOOK)
        except OSError:
            return


def _drop(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
