"""A worker that is stopped, and a server that starts on what an earlier one left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import imagic
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.types import Progress
from imagic.serve import reporting
from imagic.serve.app import create_app
from imagic.serve.settings import Settings
from imagic.serve.store import Job, JobState, Store
from imagic.serve.worker import Worker
from tests.keeping import PIXELS
from tests.serve.conftest import ADDRESS, EDITS, pixels_of
from tests.test_api import EDIT, FIT, TEXT

Make = Callable[..., dict[str, Any]]


def found(store: Store, id: str) -> Job:
    job = store.get(id)
    assert job is not None
    return job


def test_a_stopped_worker_gives_its_job_back_and_another_goes_on(
    client: TestClient, worker: Worker, make: Make, store: Store, backbone: StableDiffusionBackbone, monkeypatch: Any
) -> None:
    made, stages = make(), []
    report = reporting.Reporter.__call__

    def stopping(self: reporting.Reporter, progress: Progress) -> None:
        stages.append((progress.stage, progress.step))
        if progress.stage == "network":
            worker.stopping.set()
        report(self, progress)

    monkeypatch.setattr(reporting.Reporter, "__call__", stopping)
    assert worker.run_one()
    job = found(store, made["id"])
    assert (job.state, job.attempts, job.worker) == (JobState.QUEUED, 0, None)
    worker.stopping.clear()
    stages.clear()
    monkeypatch.setattr(
        reporting.Reporter, "__call__", lambda self, p: (stages.append((p.stage, p.step)), report(self, p))
    )
    assert worker.run_one()
    assert stages[0][0].startswith("going on from")
    assert "embedding" not in [stage for stage, _ in stages]
    image = client.get(f"{EDITS}/{made['id']}/result").content
    alone = imagic.edit(PIXELS, TEXT, model=backbone, eta=1.0, plain=True, options=FIT | EDIT)
    assert np.array_equal(pixels_of(image), np.asarray(alone.images[0]))


def test_progress_is_told_with_its_preview(
    client: TestClient, worker: Worker, make: Make, store: Store, settings: Settings, monkeypatch: Any
) -> None:
    made, told = make(), []
    prolong = Store.prolong

    def noting(self: Store, id: str, name: str, seconds: float, progress: Any = None) -> bool:
        told.append(progress)
        return prolong(self, id, name, seconds, progress)

    monkeypatch.setattr(Store, "prolong", noting)
    worker.run_one()
    assert {"embedding", "network", "writing the pictures"} <= {each["stage"] for each in told}
    assert all(0 <= each["step"] <= each["total"] for each in told)
    assert told[-1]["preview"] >= 1
    preview = pixels_of(client.get(f"{EDITS}/{made['id']}/preview").content)
    assert preview.shape == (16, 16, 3)
    assert found(store, made["id"]).progress == told[-1]


def test_a_server_takes_up_what_an_earlier_one_left(settings: Settings, store: Store) -> None:
    with TestClient(create_app(settings, works=False), base_url=ADDRESS):
        for id in ("a" * 32, "b" * 32):
            store.add(id, {}, "me", "", max_queue=9, max_per_client=9)
            settings.folder(id).mkdir()
        store.lease("killed", 1000)
        settings.folder("c" * 32).mkdir()  # of a request that was never queued
    with TestClient(create_app(settings, works=False), base_url=ADDRESS):
        assert [found(store, id).state for id in ("a" * 32, "b" * 32)] == [JobState.QUEUED] * 2
        assert {path.name for path in settings.jobs.iterdir()} == {"a" * 32, "b" * 32}


def test_a_job_that_is_anothers_by_now_is_left_alone(
    worker: Worker, make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make()
    report = reporting.Reporter.__call__

    def losing(self: reporting.Reporter, progress: Progress) -> None:
        if found(store, made["id"]).worker == worker.name:
            store.worker_died(worker.name, "it was held to be dead")
            store.lease("another", 100)
        report(self, progress)

    monkeypatch.setattr(reporting.Reporter, "__call__", losing)
    worker.run_one()
    job = found(store, made["id"])
    assert (job.state, job.worker, job.attempts) == (JobState.RUNNING, "another", 2)
