"""A service in a process of its own, that a test can kill."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from imagic.serve.settings import Settings

CODE = """
import sys
from imagic.serve.running import serve
from imagic.serve.settings import Settings
serve(Settings.from_json(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), None, (), lambda sentence: None)
"""
PATIENCE = 240.0


class Server:
    """Use as a context. path: more folders to import from."""

    def __init__(self, settings: Settings, path: Path | None = None) -> None:
        self.settings = settings
        self.environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        if path is not None:
            self.environment["PYTHONPATH"] = str(path)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api/v1"
        self.start()

    def start(self) -> None:
        """Start it, also again after its end, where it was."""
        command = [sys.executable, "-c", CODE, self.settings.to_json(), str(self.port)]
        self.process = subprocess.Popen(command, env=self.environment)
        self.until(lambda: self.answers() and self.get("/health")["status"] == "ok")

    def answers(self) -> bool:
        try:
            return bool(self.get("/health"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)

    def bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path) as answer:
            data: bytes = answer.read()
            return data

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def worker(self) -> psutil.Process:
        (found,) = [
            child for child in psutil.Process(self.process.pid).children() if "imagic.serve.worker" in child.cmdline()
        ]
        return found

    def until(self, holds: Callable[[], Any]) -> Any:
        """Wait for something true, and give it."""
        end = time.monotonic() + PATIENCE
        while not (value := holds()):
            assert time.monotonic() < end, "it did not come about"
            assert self.process.poll() is None, "the server died"
            time.sleep(0.02)
        return value

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
