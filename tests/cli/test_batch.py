"""`imagic batch` with the tiny model: in this process, in others, stopped in the middle, and refused."""

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
from PIL import Image

from imagic.core.provenance import read_record
from tests.cli.conftest import TINY_EDIT, TINY_FIT, Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures, one with a text beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index, name in enumerate(("a.png", "b.png")):
        pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "b.txt").write_text("a cat")
    return folder


@pytest.fixture
def batch(run: Run, model_folder: Path, tmp_path: Path) -> Run:
    """`imagic batch` with the tiny model, as little work as possible, into tmp_path / "out"."""

    def call(*arguments: str | Path) -> Any:
        out = ("--out", tmp_path / "out", "--model", model_folder)
        return run("batch", *arguments, *out, *TINY_FIT, *TINY_EDIT)

    return call


def report(tmp_path: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    assert len({line["output"] for line in lines}) == len(lines)
    return {line["output"]: line for line in lines}


def test_a_folder_in_a_folder_out_and_a_second_run_has_nothing_to_do(
    batch: Run, pictures: Path, tmp_path: Path
) -> None:
    first = batch(pictures, "--text", "a dog", "--eta", "0:1:0.5", "--name", "{stem}/{eta}", "--json")
    assert first.exit_code == 0, first.stderr
    expected = {"version": 1, "report": str(tmp_path / "out" / "report.jsonl"), "written": 6, "failed": 0, "skipped": 0}
    assert json.loads(first.stdout) == expected
    assert "6 of 6" in first.stderr
    names = {f"{stem}/{eta}.png" for stem in "ab" for eta in ("0", "0.5", "1")}
    assert set(report(tmp_path)) == names
    record = read_record(tmp_path / "out" / "b" / "0.5.png")
    assert (record.target_text, record.strength) == ("a cat", 0.5)
    again = batch(pictures, "--text", "a dog", "--eta", "0:1:0.5", "--name", "{stem}/{eta}")
    assert again.stdout == f"{tmp_path / 'out' / 'report.jsonl'}\n"
    assert "0 results written, 0 jobs failed, 6 were done already" in again.stderr


def test_failures_are_in_the_report_and_the_exit_code(batch: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "c.png").write_bytes(b"no picture")
    done = batch(pictures, "--text", "a dog", "--eta", "1", "--retry", "1")
    assert done.exit_code == 1
    assert "2 results written, 1 jobs failed" in done.stderr
    assert "not an image" in report(tmp_path)["c-a-dog.png"]["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "There is no text"),
        (("--text", "a dog", "--name", "{user}.png"), "may hold {stem}"),
        (("--text", "a dog", "--name", "../{stem}.png"), "no name within the folder"),
        (("--text", "a dog", "--name", "one.png"), "tell them apart with --name"),
        (("--text", "a dog", "--shard", "3/2"), "Shard 3/2 does not exist"),
        (("--text", "a dog", "--method", "imagik"), "did you mean 'imagic'"),
        (("--text", "a dog", "--mask", "gone.png"), "gone.png does not exist"),
        (("--text", "a dog", "--set", "steps=2"), "has no option 'steps'"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    batch: Run, pictures: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (pictures / "b.txt").unlink()
    refused = batch(pictures, *arguments)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert message in refused.stderr
    assert not (tmp_path / "out").exists()


def test_results_do_not_go_among_the_pictures(run: Run, pictures: Path) -> None:
    refused = run("batch", pictures, "--text", "a dog", "--out", pictures)
    assert refused.exit_code == 1
    assert "name another folder with --out" in refused.stderr


def test_a_model_that_is_not_there_is_one_sentence(run: Run, pictures: Path, tmp_path: Path) -> None:
    refused = run("batch", pictures, "--text", "a dog", "--out", tmp_path / "out", "--model", tmp_path / "gone")
    assert refused.exit_code == 1
    assert "gone" in refused.stderr
    assert not (tmp_path / "out" / "report.jsonl").exists()


def command(pictures: Path, model_folder: Path, tmp_path: Path, *arguments: str) -> list[str]:
    listed = ("batch", pictures, "--text", "a dog", "--eta", "1", "--out", tmp_path / "out", "--model", model_folder)
    return [sys.executable, "-m", "imagic.cli", *map(str, listed), *TINY_FIT, *TINY_EDIT, *arguments]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_processes_give_the_same_pixels_as_this_one(
    batch: Run, pictures: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = subprocess.run(command(pictures, model_folder, tmp_path), capture_output=True, check=False)
    assert alone.returncode == 0, alone.stderr
    (tmp_path / "out").rename(tmp_path / "alone")
    monkeypatch.setenv("IMAGIC_CACHE_DIR", str(tmp_path / "other-cache"))
    done = batch(pictures, "--text", "a dog", "--eta", "1", "--workers", "2")
    assert done.exit_code == 0, done.stderr
    for name in ("a-a-dog.png", "b-a-cat.png"):
        pair = [np.asarray(Image.open(tmp_path / folder / name)) for folder in ("alone", "out")]
        assert np.array_equal(*pair)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ctrl_c_ends_it_within_a_second_and_the_same_command_goes_on(
    batch: Run, pictures: Path, model_folder: Path, tmp_path: Path
) -> None:
    long = ("--set", "embedding_steps=5000", "--checkpoint-seconds", "0", "--workers", "1")
    process = subprocess.Popen(command(pictures, model_folder, tmp_path, *long), stderr=subprocess.PIPE, text=True)
    cache = Path(os.environ["IMAGIC_CACHE_DIR"])
    while not list(cache.glob("*.checkpoint.safetensors")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - started < 2  # one, and what a busy machine adds
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert list(cache.glob("*.checkpoint.safetensors"))
    done = batch(pictures, "--text", "a dog", "--eta", "1")
    assert done.exit_code == 0, done.stderr
    assert {line["state"] for line in report(tmp_path).values()} == {"done"}
