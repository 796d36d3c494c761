"""`imagic cache`, --no-cache and --checkpoint: what is kept, what is found, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imagic.cli import keeping
from imagic.core.checkpoint import SECONDS
from imagic.core.state import load_state
from tests.cli.conftest import TINY_EDIT, TINY_FIT, Run

FOUND = "fit found in the cache"


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def listed(run: Run) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(run("cache", "list", "--json").stdout)["entries"]
    return entries


def test_a_second_edit_finds_the_fit_and_no_cache_makes_it_anew(edit: Run, run: Run, tmp_path: Path) -> None:
    one, two, three = (tmp_path / f"{index}.png" for index in range(3))
    assert FOUND not in edit("-o", one, "--eta", "0.5", "--plain").stderr
    found = edit("-o", two, "--eta", "0.5", "--plain").stderr
    assert FOUND in found
    assert "embedding (" not in found
    assert "embedding (" in edit("-o", three, "--eta", "0.5", "--plain", "--no-cache").stderr
    assert np.array_equal(pixels(one), pixels(two))
    assert np.array_equal(pixels(one), pixels(three))
    assert len(listed(run)) == 1


def test_no_cache_leaves_the_folder_alone(edit: Run, cache_folder: Path, tmp_path: Path) -> None:
    assert edit("-o", tmp_path / "a.png", "--no-cache").exit_code == 0
    assert not list(cache_folder.iterdir())


def test_redo_makes_the_fit_anew(edit: Run, run: Run, picture: Path, model_folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "a.png"
    edit("-o", made, "--eta", "0.5")
    done = run("redo", made, "--image", picture, "--model", model_folder)
    assert done.exit_code == 0
    assert "embedding (" in done.stderr


def test_what_is_kept_is_listed_pruned_and_cleared(edit: Run, run: Run, cache_folder: Path, tmp_path: Path) -> None:
    assert run("cache", "list").stdout == f"0 files, 0.0 MB in {cache_folder}\n"
    for text in ("a dog", "a cat", "a photo"):
        edit("-o", tmp_path / f"{text}.png", text=text)
    entries = listed(run)
    assert [entry["about"]["target_text"] for entry in entries] == ["a dog", "a cat", "a photo"]
    assert all(entry["kind"] == "fit" and entry["about"]["method"] == "imagic" for entry in entries)
    sizes = [entry["bytes"] for entry in entries]
    assert sizes == [Path(entry["path"]).stat().st_size for entry in entries]
    lines = run("cache", "list").stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(entries[0]["key"][:12])
    assert lines[0].endswith(": a dog")
    old = time.time() - 3 * 86_400
    os.utime(entries[1]["path"], (old, old))
    removed = json.loads(run("cache", "prune", "--older-than", "2", "--json").stdout)["removed"]
    assert [entry["key"] for entry in removed] == [entries[1]["key"]]
    assert run("cache", "prune").stdout == "removed 0 files, 0.0 MB\n"
    assert run("cache", "prune", "--max-size", str(max(sizes) / 1e9)).stdout.startswith("removed 1 files")
    assert [entry["key"] for entry in listed(run)] == [entries[2]["key"]]
    assert run("cache", "clear").stdout.startswith("removed 1 files")
    assert not list(cache_folder.iterdir())


def test_a_damaged_file_is_listed_as_such(run: Run, cache_folder: Path) -> None:
    (cache_folder / "0123.fit.safetensors").write_bytes(b"not one of ours")
    (cache_folder / "letter.txt").write_bytes(b"nor this")
    assert run("cache", "list").stdout.splitlines()[0].endswith("damaged")
    assert run("cache", "clear").exit_code == 0
    assert [path.name for path in cache_folder.iterdir()] == ["letter.txt"]


def test_a_wrong_limit_is_refused_in_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGIC_CACHE_GB", "lots")
    refused = run("cache", "prune")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "Error: IMAGIC_CACHE_GB must be a number of gigabytes, not 'lots'.\n"


def test_a_divergence_says_where_and_what_is_kept(edit: Run, run: Run) -> None:
    done = edit("--set", "network_lr=1", "--set", "network_steps=50", "--checkpoint-seconds", "0")
    assert done.exit_code == 1
    error, note = done.stderr.splitlines()[-2:]
    assert error.startswith("Error: The stage 'network' diverged at step ")
    assert note.startswith("The fit is kept as of step ")
    (entry,) = listed(run)
    assert entry["kind"] == "checkpoint"
    assert entry["about"]["stages"]["embedding"] == 2
    assert "embedding at step 2" in run("cache", "list").stdout


@pytest.mark.parametrize("named", [True, False])
def test_a_checkpoint_is_where_it_was_asked_to_be(edit: Run, cache_folder: Path, tmp_path: Path, named: bool) -> None:
    path = tmp_path / "mine.safetensors"
    where = ("--no-cache", "--checkpoint", path) if named else ("--checkpoint", "none")
    done = edit("--set", "network_lr=1", "--set", "network_steps=50", *where)
    assert "diverged" in done.stderr
    assert path.exists() is named
    assert ("The fit is kept" in done.stderr) is named
    assert not [each for each in cache_folder.iterdir() if each.suffix != ".lock"]


def test_the_default_of_checkpoint_seconds_is_the_librarys() -> None:
    assert keeping.SECONDS == SECONDS


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "imagic.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    assert any(word in line for line in iter(process.stderr.readline, ""))


def test_ctrl_c_stops_soon_saves_says_how_to_go_on_and_exits_with_130(
    run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    fit = ("fit", picture, "a dog", "--model", model_folder, *TINY_FIT, "--set", "embedding_steps=60")
    before = sorted(tmp_path.iterdir())
    with started(*fit) as process:
        wait_for(process, "embedding")
        time.sleep(0.05)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        seconds = time.monotonic() - asked
    assert (process.returncode, stdout) == (130, "")
    assert seconds < 5  # 1 on a quiet machine
    assert "Traceback" not in stderr
    assert "The fit is kept as of step " in stderr
    assert "the same command goes on from there." in stderr
    assert sorted(tmp_path.iterdir()) == before
    (entry,) = listed(run)
    assert 0 < entry["about"]["stages"]["embedding"] < 60
    # The same command ends with what a run that was left alone learns.
    resumed, whole = tmp_path / "resumed.safetensors", tmp_path / "whole.safetensors"
    assert run(*fit, "-o", resumed).exit_code == 0
    assert run(*fit, "-o", whole, "--no-cache").exit_code == 0
    one, other = load_state(resumed), load_state(whole)
    assert one.facts == other.facts
    assert all(torch.equal(one.tensors[name], tensor) for name, tensor in other.tensors.items())


@pytest.mark.slow
def test_two_processes_with_one_fit_and_one_state_both_end_right(
    run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    state = tmp_path / "both.safetensors"
    arguments = ("--model", model_folder, *TINY_FIT, "--set", "embedding_steps=60", *TINY_EDIT, "--eta", "0.5")
    edit = ("edit", picture, "a dog", *arguments, "--overwrite")
    processes = [started(*edit, "--save-state", state, "-o", tmp_path / f"{name}.png") for name in "ab"]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    again = ("edit", picture, "--state", state, "--model", model_folder, "--eta", "0.5", *TINY_EDIT)
    assert run(*again, "-o", tmp_path / "c.png").exit_code == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png"))
    assert sum(FOUND in error for error in errors) == 1
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]
