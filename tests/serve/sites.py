"""The service on a port of this computer, with a worker in a thread that a test can hold back."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import uvicorn

from imagic.core.types import Backbone
from imagic.serve.app import create_app
from imagic.serve.keys import Key
from imagic.serve.settings import Settings
from imagic.serve.store import Store
from imagic.serve.worker import MODEL, Worker, facts


class Site:
    """Use as a context. address: host and port. working: where it is cleared, jobs wait."""

    def __init__(self, settings: Settings, backbone: Backbone, key: Key | None = None) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.settings, self.store = settings, Store(settings.database)
        app = create_app(settings, key, works=False)
        self._server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
        self._worker = Worker(settings, self.store, backbone, "w", threading.Event())
        self._threads = [threading.Thread(target=self._server.run), threading.Thread(target=self._work)]
        self.working = threading.Event()
        self.working.set()

    def _work(self) -> None:
        while not self._worker.stopping.wait(0.02):
            if self.working.is_set():
                self._worker.run_one()

    def file(self, id: str, name: str) -> Path:
        """A file of an edit, as it lies on the disk."""
        return self.settings.folder(id) / name

    def __enter__(self) -> Site:
        server, worker = self._threads
        server.start()
        while not self._server.started:
            time.sleep(0.01)
        self.store.set_fact(MODEL, facts(self._worker.backbone))
        worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._worker.stopping.set()
        for thread in self._threads:
            thread.join()
