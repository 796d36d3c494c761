"""`imagic bench study`: without people, with people by HTTP until Ctrl-C, and its tables."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.bench.study.conftest import run_folder
from tests.cli.conftest import Run

__all__ = ["run_folder"]  # a fixture


@pytest.fixture
def folder(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_the_simulated_study_prints_the_tables_and_leaves_nothing(run: Run, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    done = run("bench", "study", folder, "--simulate", "--baseline", "good")
    assert done.exit_code == 0
    assert "| good | fair | 6 of 6 | 100% [61%, 100%] |" in done.stdout
    assert "| good | poor | 6 of 6 | 100% [61%, 100%] |" in done.stdout
    assert "| fair | poor" not in done.stdout
    assert re.search(r"## Ratings\n\n\| method \| rating \|\n\| --- \| --- \|\n\| good \| \d+ \|", done.stdout)
    assert done.stdout == run("bench", "study", folder, "--simulate", "--baseline", "good").stdout
    assert sorted(folder.rglob("*")) == before


def test_groups_methods_and_json(run: Run, folder: Path) -> None:
    done = run("bench", "study", folder, "--simulate", "--methods", "fair, poor", "--groups", "coat", "--json")
    found = json.loads(done.stdout)
    (only,) = found["preferences"]
    assert (only["method"], only["opponent"], only["preferred"], only["of"]) == ("fair", "poor", 3, 3)
    assert (found["version"], found["raters"][0]["answers"]) == (1, 3)


def test_what_is_wrong_is_said(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        ((folder, "--baseline", "gut"), "choose among"),
        ((folder, "--report"), "Nobody has answered"),
        ((tmp_path / "empty",), "no results"),
    ):
        wrong = run("bench", "study", *arguments)
        assert (wrong.exit_code, wrong.stdout) == (1, "")
        assert said in wrong.stderr
    assert run("bench", "study", folder, "--simulate", "--report").exit_code == 2
    assert not (folder / "study.sqlite").exists()


@pytest.mark.slow
def test_people_answer_until_ctrl_c_and_the_answers_stay(run: Run, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "imagic.cli",
        "bench",
        "study",
        str(folder),
        "--port",
        "0",
        "--methods",
        "good,poor",
    ]
    # A shell's background job, such as a whole test run, hands on that Ctrl-C is to be ignored.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds)
    try:
        assert server.stderr is not None
        said = server.stderr.readline()
        address = urlsplit(said.split()[3])
        assert said.startswith("6 pairs, at http://127.0.0.1:")

        def post(path: str, form: dict[str, str]) -> str:
            connection = http.client.HTTPConnection(address.netloc, timeout=30)
            connection.request("POST", path, urlencode(form))
            return str(connection.getresponse().headers["Location"])

        rater = post("/raters", {"name": "Jo"})
        for number in range(1, 4):
            post(f"{rater}/{number}", {"choice": "left"})
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=60)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0
    assert "## Preferences" in out
    assert "| Jo | 3 |" in out
    assert run("bench", "study", folder, "--report").stdout == out
