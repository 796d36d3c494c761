"""A service on a folder of its own, asked over HTTP, with a worker in this process over a tiny model."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.serve.app import create_app
from imagic.serve.settings import Settings
from imagic.serve.store import Store
from imagic.serve.worker import MODEL, Worker, facts
from tests.keeping import PIXELS, tiny_model
from tests.test_api import EDIT, FIT, TEXT

EDITS = "/api/v1/edits"
ADDRESS = "http://127.0.0.1:7860"


def encoded(pixels: Any = PIXELS, format: str = "PNG") -> bytes:
    """An image's file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def asked(**changes: Any) -> dict[str, Any]:
    """An edit of as little work as the method allows, as JSON."""
    image = base64.b64encode(encoded()).decode()
    return {"image": image, "text": TEXT, "eta": 1.0, "plain": True, "options": FIT | EDIT, **changes}


def pixels_of(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "data", model="tiny", max_queue=4, max_per_client=3, preview_seconds=0.0)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.database)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The service without a worker of its own."""
    with TestClient(create_app(settings, works=False), base_url=ADDRESS) as client:
        yield client


@pytest.fixture(scope="session")
def backbone() -> StableDiffusionBackbone:
    return tiny_model()


@pytest.fixture
def worker(client: TestClient, settings: Settings, store: Store, backbone: StableDiffusionBackbone) -> Worker:
    """A worker in this process: `worker.run_one()` does the next job."""
    store.set_fact(MODEL, facts(backbone))
    return Worker(settings, store, backbone, "worker-1", threading.Event())


@pytest.fixture
def make(client: TestClient) -> Callable[..., dict[str, Any]]:
    """Ask for an edit, with changes; it is queued."""

    def ask(**changes: Any) -> dict[str, Any]:
        answer = client.post(EDITS, json=asked(**changes))
        assert answer.status_code == 202, answer.text
        view: dict[str, Any] = answer.json()
        return view

    return ask
