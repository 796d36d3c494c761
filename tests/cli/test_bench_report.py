"""`imagic bench report` on rows that are written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from imagic.bench.rows import append
from tests.bench.fakes import FakeSuite
from tests.bench.test_report import row
from tests.cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of imagic at two strengths and of copy on three items; copy never succeeds."""
    folder = tmp_path / "new"
    folder.mkdir()
    Image.new("RGB", (64, 16), "red").save(folder / "strip.png")
    for index in range(3):
        for label, strength in (("imagic", 0.4), ("imagic", 0.8), ("copy", None)):
            scores = {"psnr_truth": 20.0 + index, "psnr_input": 30.0 - (strength or 0) * 10}
            made = row(f"i{index}", label=label, success=label != "copy", strength=strength, scores=scores)
            append(folder / "rows.jsonl", {**made, "picture": "strip.png"})
    return folder


def test_documents_are_written_and_named_and_replaced_only_when_asked(run: Run, folder: Path, tmp_path: Path) -> None:
    page, text = tmp_path / "report.html", tmp_path / "report.md"
    done = run("bench", "report", folder, "-o", page, "--output", text, "--baseline", "copy")
    assert done.stdout == f"{page}\n{text}\n"
    assert page.read_text().startswith("<!DOCTYPE html>")
    for written in (page, text):
        assert "Paired comparisons" in written.read_text()
        assert "Trade-off: asked against PSNR to the input" in written.read_text()
    again = run("bench", "report", folder, "-o", page)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "exists already" in again.stderr
    assert run("bench", "report", folder, "-o", page, "--overwrite").exit_code == 0
    assert "Paired comparisons" not in page.read_text()


def test_figures_are_written_and_named(run: Run, folder: Path, tmp_path: Path) -> None:
    done = run("bench", "report", folder, "--figures", tmp_path / "svg")
    assert str(tmp_path / "svg" / "trade-off-0.svg") in done.stdout.splitlines()
    assert all(Path(line).read_text().startswith("<svg") for line in done.stdout.splitlines())


def test_two_runs_are_compared_on_their_common_items(run: Run, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "old"
    other.mkdir()
    append(other / "rows.jsonl", row("i1", strength=0.8, success=False, scores={"psnr_truth": 11.0}))
    table = run("bench", "report", folder, "--against", other).stdout
    assert "| imagic at 0.8 in new | imagic at 0.8 in old | 1 | 1 : 0 | 1.000 | +10 |" in table
    (found,) = json.loads(run("bench", "report", folder, "--against", other, "--json").stdout)["comparisons"]
    assert (found["won"], found["lost"], found["p_value"]) == (1, 0, 1.0)
    assert found["differences"][0]["mean"] == 10


def test_what_is_wrong_is_said_before_anything_is_written(run: Run, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    for arguments, said in (
        (("--baseline", "kopy"), "choose among imagic at 0.4, imagic at 0.8, copy"),
        (("--distance", "lpips-alex"), "choose among psnr_input"),
        (("--against", tmp_path), "no results"),
        (("-o", tmp_path / "report.pdf"), ".html or .md"),
    ):
        wrong = run("bench", "report", folder, "-o", page, *arguments)
        assert (wrong.exit_code, wrong.stdout) == (1, "")
        assert said in wrong.stderr
        assert not page.exists()


def test_an_ablation_runs_its_variants_and_compares_them(
    run: Run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagic.bench.suites.open_suite", lambda name, limit=None, **_: FakeSuite(count=limit))
    monkeypatch.setattr("imagic.bench.ablations.EXPERIMENTS", {"no-edit": ("generate", "copy")})
    arguments = ("--out", tmp_path / "out", "--limit", "2", "--model", model_folder)
    done = run("bench", "ablation", "no-edit", *arguments)
    assert done.exit_code == 0
    assert "| copy | generate | 2 |" in done.stdout
    assert len((tmp_path / "out" / "rows.jsonl").read_text().splitlines()) == 4
    wrong = run("bench", "ablation", "no-edits", *arguments)
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "choose one of no-edit" in wrong.stderr
