"""Ctrl-C while a computation goes on: it ends at the next step, where what is done can be kept, and soon anyhow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE = 0.7  # seconds that a step is waited for


@contextmanager
def stopping_between_steps() -> Iterator[Callable[[], None]]:
    """Within: Ctrl-C raises KeyboardInterrupt in the callback, which is called at each step; wherever the computation
    is when no step comes for PATIENCE seconds, or when Ctrl-C is pressed again; and at the latest at the end."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    asked = threading.Event()
    impatience = threading.Timer(PATIENCE, _interrupt)
    impatience.daemon = True

    def ask(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        impatience.start()

    def look() -> None:
        if asked.is_set():
            impatience.cancel()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield look
        look()
    finally:
        impatience.cancel()
        signal.signal(signal.SIGINT, before)


def _interrupt() -> None:
    """Ctrl-C for the main thread, whatever it waits for."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        signal.raise_signal(signal.SIGINT)
