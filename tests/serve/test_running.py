"""The service as it is started: the worker it keeps, the page of the docs, the command line."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from imagic.cli.app import app as command_line
from imagic.core.errors import OptionError, OutputError
from imagic.serve import running, supervisor
from imagic.serve.app import create_app
from imagic.serve.settings import Settings
from imagic.serve.store import JobState, Store
from imagic.serve.supervisor import Supervisor
from tests.serve.conftest import asked
from tests.serve.sites import Site
from tests.test_api import EDIT, FIT

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def address(settings: Settings, backbone: Any) -> Iterator[str]:
    with Site(settings, backbone) as site:
        yield site.address


def test_the_client_of_the_docs(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    code = code.replace("127.0.0.1:7860", address)
    # As little work as the method allows: whether the calls fit together is the question.
    asks = '"text": "a sitting dog"'
    assert asks in code
    code = code.replace(asks, f'{asks}, "options": {FIT | EDIT}')
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "service.md", "exec"), {})
    sizes = {Image.open(path).size for path in tmp_path.glob("sitting*.png")}
    assert {path.name for path in tmp_path.glob("*.png")} == {"sitting.png", "sitting-0.5.png", "sitting-0.8.png"}
    assert sizes == {Image.open("examples/dog.png").size}
    assert capsys.readouterr().out.splitlines()[-1].startswith("done ")


def test_a_worker_that_dies_is_replaced_and_its_job_put_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is a program that takes a job and kills itself."""
    settings.create()
    store = Store(settings.database)
    store.create()
    code = (
        "import os, sys; from imagic.serve.settings import Settings; from imagic.serve.store import Store;"
        "store = Store(Settings.from_json(sys.argv[2]).database);"
        "store.lease(sys.argv[1], 60) and os.kill(os.getpid(), 9); sys.stdin.read()"
    )
    monkeypatch.setattr(supervisor, "PROGRAM", ("-c", code))
    store.add("x", asked(), "me", "", max_queue=1, max_per_client=1)
    with Supervisor(settings, store) as keeper:
        end = time.monotonic() + 60
        while (job := store.get("x")) and job.state is not JobState.FAILED:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert job is not None
        assert job.error is not None
        assert "SIGKILL" in job.error
        while keeper.starts < 3 or keeper.pid is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        last = keeper.pid
    assert keeper.starts == 3
    with pytest.raises(ProcessLookupError):
        os.kill(last, signal.SIG_DFL)


def test_another_address_asks_for_a_key_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apps: list[Any] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: apps.append(self.config.app))
    said: list[str] = []
    settings = Settings(tmp_path / "data")
    running.serve(settings, "0.0.0.0", 0, None, (), said.append)
    assert apps[-1].state.key is not None
    assert "every request needs the key" in said[0]
    made = said[1].removeprefix("The key, shown this once: ")
    assert apps[-1].state.key.opens(made)
    running.serve(settings, "0.0.0.0", 0, None, (), said.append)
    assert apps[-1].state.key.opens(made)
    assert made not in " ".join(said[2:])
    for host in ("127.0.0.1", "localhost"):
        running.serve(settings, host, 0, None, (), said.append)
        assert apps[-1].state.key is None
    running.serve(settings, "127.0.0.1", 0, tmp_path / "key", (), said.append)
    assert apps[-1].state.key is not None
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        running.serve(settings, "127.0.0.1", 0, tmp_path / "key", (), said.append)


def test_what_cannot_be_served_is_one_sentence(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "data")
    refusal = pytest.raises(OutputError, match="choose another --host or --port")
    with socket.create_server(("127.0.0.1", 0)) as taken, refusal:
        running.serve(settings, "127.0.0.1", taken.getsockname()[1], None, (), lambda sentence: None)
    with TestClient(create_app(settings, works=False)), pytest.raises(OutputError, match="Another server uses"):
        running.serve(settings, "127.0.0.1", 0, None, (), lambda sentence: None)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(running, "serve", lambda *values: seen.append(values))
    arguments = ["serve", "--data", str(tmp_path), "--model", "tiny", "--max-megabytes", "1", "--max-queue", "2"]
    assert CliRunner().invoke(command_line, arguments, catch_exceptions=False).exit_code == 0
    settings, host, port, key_file, hosts, _ = seen[0]
    assert (host, port, key_file, tuple(hosts)) == ("127.0.0.1", 7860, None, ())
    assert (settings.data, settings.model, settings.max_bytes, settings.max_queue) == (tmp_path, "tiny", 2**20, 2)
    assert Settings.from_json(settings.to_json()) == settings
