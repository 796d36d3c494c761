"""What a worker tells the store of a running job, as often as people look, and what it hears there."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from pathlib import Path

from PIL import Image

from imagic.core.errors import Cancelled, OutputError
from imagic.core.files import replacing
from imagic.core.images import to_rgb
from imagic.core.types import Progress
from imagic.serve.outputs import PREVIEW
from imagic.serve.store import Job, Store

SECONDS = 0.2  # between two reports of one stage


class Reporter:
    """A progress callback. Raises Cancelled when the job is to be cancelled, is another worker's by now, or when
    `stopping` is set."""

    def __init__(
        self, store: Store, job: Job, worker: str, folder: Path, lease_seconds: float, stopping: threading.Event
    ) -> None:
        self._store, self._job, self._worker, self._folder = store, job, worker, folder
        self._lease_seconds, self._stopping = lease_seconds, stopping
        self._stage, self._due, self._previews = "", 0.0, 0

    def __call__(self, progress: Progress) -> None:
        if self._stopping.is_set():
            raise Cancelled
        if progress.preview is not None:
            self._keep(progress)
        now = time.monotonic()
        if progress.stage == self._stage and now < self._due and progress.step < progress.total:
            return
        self._stage, self._due = progress.stage, now + SECONDS
        with contextlib.suppress(OutputError):  # a disk that is full now is no reason to lose the fit
            if not self._store.prolong(self._job.id, self._worker, self._lease_seconds, self._plain(progress)):
                raise Cancelled

    def _keep(self, progress: Progress) -> None:
        assert progress.preview is not None
        with contextlib.suppress(OutputError), replacing(self._folder / PREVIEW, overwrite=True) as part:
            Image.fromarray(to_rgb(progress.preview)).save(part, "PNG")
            self._previews += 1

    def _plain(self, progress: Progress) -> dict[str, object]:
        """preview: how many there were, 0 for none yet."""
        values = {name: float(value) for name, value in progress.values.items() if math.isfinite(value)}
        return {
            "stage": progress.stage,
            "step": progress.step,
            "total": progress.total,
            "seconds_left": progress.seconds_left,
            "values": values,
            "preview": self._previews,
        }
