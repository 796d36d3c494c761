"""The process that makes the edits: it holds the model, takes a job, reports, and takes the next.

It ends when its standard input does, which it does with the server, and then gives back what it has. A job that cannot
be ended in time is ended with the process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator

from filelock import FileLock

import imagic
from imagic import api
from imagic.core.errors import Cancelled, ImagicError
from imagic.core.provenance import portable_model_name
from imagic.core.types import Backbone
from imagic.serve import work
from imagic.serve.reporting import Reporter
from imagic.serve.settings import Settings
from imagic.serve.store import Job, JobState, Store

MODEL = "model"  # the fact that tells of the model
IDLE_SECONDS = 0.1
PATIENCE = 20.0  # seconds for a step to end in, after it was asked to
STOPPING_SECONDS = 2.0
log = logging.getLogger("imagic.serve")


class Worker:
    """name: of this worker alone, for its leases. stopping: set from outside, ends the present job at its next step."""

    def __init__(
        self, settings: Settings, store: Store, backbone: Backbone, name: str, stopping: threading.Event
    ) -> None:
        self.settings, self.store, self.backbone, self.name = settings, store, backbone, name
        self.stopping = stopping

    def run_one(self) -> bool:
        """Take the next job and bring it to an end. Returns whether there was one."""
        job = self.store.lease(self.name, self.settings.lease_seconds)
        if job is None:
            return False
        with self._holding(job):
            try:
                state, error, result = JobState.DONE, None, self._do(job)
            except Cancelled:
                if self.stopping.is_set():
                    self.store.give_back(self.name)
                    return True
                state, error, result = JobState.CANCELLED, None, None
            except ImagicError as problem:
                state, error, result = JobState.FAILED, str(problem), None
            except Exception as problem:
                log.exception("job %s", job.id)
                kind = type(problem).__name__
                state, error, result = JobState.FAILED, f"imagic failed ({kind}); its log says where.", None
            self.store.end(job.id, self.name, state, error, result)
        return True

    def _do(self, job: Job) -> dict[str, object]:
        settings, folder = self.settings, self.settings.folder(job.id)
        reporter = Reporter(self.store, job, self.name, folder, settings.lease_seconds, self.stopping)
        cache = imagic.Cache(
            folder=settings.fits,
            checkpoint_seconds=settings.checkpoint_seconds,
            gigabytes=settings.cache_gigabytes,
            say=lambda sentence: log.warning("%s", sentence),
        )
        report = api.with_previews(reporter, self.backbone, settings.preview_seconds)
        return work.do(job.request, folder, self.backbone, cache, report)

    @contextlib.contextmanager
    def _holding(self, job: Job) -> Iterator[None]:
        """Keeps the lease while the block runs, however long one step takes."""
        done = threading.Event()

        def beat() -> None:
            asked_at = None
            while not done.wait(self.settings.lease_seconds / 4):
                with contextlib.suppress(ImagicError):
                    if not self.store.prolong(job.id, self.name, self.settings.lease_seconds):
                        asked_at = asked_at or time.monotonic()
                        if time.monotonic() - asked_at > PATIENCE:
                            self.store.end(job.id, self.name, JobState.CANCELLED)
                            os._exit(1)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def facts(backbone: Backbone) -> dict[str, object]:
    """What the server tells of the model."""
    return {
        "name": portable_model_name(backbone.name),
        "fingerprint": backbone.fingerprint,
        "image_size": backbone.image_size,
        "abilities": sorted(backbone.abilities),
        "device": backbone.device.type,
        "error": None,
    }


def main(name: str, settings: Settings) -> None:
    """Load the model, then work until standard input ends."""
    store, stopping = Store(settings.database), threading.Event()
    threading.Thread(target=_stop_with_the_server, args=(store, name, stopping), daemon=True).start()
    try:
        backbone = imagic.load_model(settings.model, settings.device, settings.dtype)
    except ImagicError as error:
        store.set_fact(MODEL, {"error": str(error)})
        sys.exit(f"Error: {error}")
    store.set_fact(MODEL, facts(backbone))
    worker = Worker(settings, store, backbone, name, stopping)
    with FileLock(settings.worker_lock):  # waits for the end of one whose server was killed
        while not stopping.is_set():
            if not worker.run_one():
                stopping.wait(IDLE_SECONDS)


def _stop_with_the_server(store: Store, name: str, stopping: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stopping.set()
    time.sleep(STOPPING_SECONDS)
    with contextlib.suppress(ImagicError):
        store.give_back(name)
    os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s: %(message)s")
    main(sys.argv[1], Settings.from_json(sys.argv[2]))
