"""Killed with SIGKILL in the middle of a fit, worker or server: the job goes on and ends with the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import imagic
from imagic._store import Store as Fits
from imagic.serve.settings import Settings
from tests.conftest import build_pipeline
from tests.keeping import PIXELS
from tests.serve.conftest import asked, pixels_of
from tests.serve.servers import Server
from tests.test_api import EDIT, FIT, TEXT

LONG = FIT | EDIT | {"embedding_steps": 200, "network_steps": 200}
KILLER = """
import os
from imagic.methods.sdedit import SDEdit

class Killer(SDEdit):
    name = "killer"

    def fit(self, backbone, request, options):
        yield from ()
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """As often as the share of the time that writing may take allows, a checkpoint."""
    build_pipeline(word_level=True).save_pretrained(tmp_path / "tiny")
    return Settings(tmp_path / "data", model=str(tmp_path / "tiny"), checkpoint_seconds=0.0)


def at_step(server: Server, id: str, stage: str, step: int) -> Any:
    """The edit, when it has come that far, and its checkpoint is on the disk."""

    def there() -> Any:
        seen = server.get(f"/edits/{id}")
        progress = seen["progress"] or {}
        assert seen["state"] in ("queued", "running"), seen
        return progress.get("stage") == stage and progress["step"] >= step and stage in kept(server) and seen

    return server.until(there)


def kept(server: Server) -> dict[str, int]:
    """The stages in the checkpoint, and their steps."""
    entries = [entry for entry in Fits(server.settings.fits).entries() if entry.kind == "checkpoint"]
    stages: dict[str, int] = entries[0].about.get("stages", {}) if entries else {}
    return stages


def goes_on_from(server: Server, id: str, stage: str, step: int) -> None:
    """In its second beginning, the first that is seen of the stage is at that step or later."""

    def there() -> Any:
        seen = server.get(f"/edits/{id}")
        progress = seen["progress"] if (seen["state"], seen["attempts"]) == ("running", 2) else None
        return progress if progress and progress["stage"] == stage else None

    assert server.until(there)["step"] >= step > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_survives_its_worker_and_its_server(settings: Settings) -> None:
    with Server(settings) as server:
        made = server.post("/edits", asked(options=LONG))
        at_step(server, made["id"], "embedding", 40)
        server.worker().kill()
        step = kept(server)["embedding"]
        goes_on_from(server, made["id"], "embedding", step)

        at_step(server, made["id"], "network", 20)
        worker = server.worker()
        server.process.kill()
        server.process.wait()
        assert psutil.wait_procs([worker], timeout=20)[1] == [], "the worker outlived its server"
        step = kept(server)["network"]
        server.start()
        goes_on_from(server, made["id"], "network", step)
        seen = server.until(lambda: ended(server, made["id"]))
        assert (seen["state"], seen["error"]) == ("done", None)
        image = pixels_of(server.bytes(f"/edits/{made['id']}/result"))
        assert kept(server) == {}
        assert [path.name for path in settings.data.rglob("*.part*")] == []
    alone = imagic.edit(PIXELS, TEXT, model=settings.model, eta=1.0, plain=True, options=LONG)
    assert np.array_equal(image, np.asarray(alone.images[0]))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_kills_its_worker_twice_is_failed_with_the_reason(settings: Settings, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    (plugin / "killer-1.0.dist-info").mkdir(parents=True)
    (plugin / "killer.py").write_text(KILLER)
    (plugin / "killer-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: killer\nVersion: 1.0\n")
    (plugin / "killer-1.0.dist-info" / "entry_points.txt").write_text("[imagic.methods]\nkiller = killer:Killer\n")
    with Server(settings, plugin) as server:
        bad = server.post("/edits", asked(method="killer", options={}, eta="auto"))
        good = server.post("/edits", asked())
        seen = server.until(lambda: ended(server, bad["id"]))
        assert (seen["state"], seen["attempts"]) == ("failed", 2)
        assert "killed its worker twice" in seen["error"]
        assert "SIGKILL" in seen["error"]
        assert server.until(lambda: ended(server, good["id"]))["state"] == "done"


def ended(server: Server, id: str) -> Any:
    seen = server.get(f"/edits/{id}")
    return seen if seen["ended"] else None
