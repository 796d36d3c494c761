"""`imagic bench run` and `report` on a suite that can be checked by hand, with the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from tests.bench.fakes import FakeSuite
from tests.bench.pictures import json_lines, picture
from tests.cli.conftest import TINY_EDIT, TINY_FIT, Run
from tests.metrics.tiny import clip_folder


@pytest.fixture
def bench(run: Run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`imagic bench run` of one method over the fake suite, into tmp_path / "out"."""
    monkeypatch.setattr("imagic.bench.suites.open_suite", lambda name, limit=None, **_: FakeSuite(count=limit or 6))

    def call(*arguments: str | Path) -> Result:
        return run("bench", "run", "--out", tmp_path / "out", "--model", model_folder, *arguments)

    return call


def test_a_run_writes_a_row_per_item_and_a_rerun_makes_only_what_is_missing(bench: Run, tmp_path: Path) -> None:
    arguments = ("--methods", "imagic,copy", "--seed", "1", *TINY_FIT, *TINY_EDIT, "--json")
    first = bench("--limit", "1", *arguments)
    assert json.loads(first.stdout) == {
        "version": 1,
        "folder": str(tmp_path / "out"),
        "written": 2,
        "failed": 0,
        "skipped": 0,
    }
    assert "2 of 2" in first.stderr
    again = json.loads(bench("--limit", "2", *arguments).stdout)
    assert (again["written"], again["skipped"]) == (2, 2)
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert {(row["item"], row["label"], row["seed"]) for row in rows} == {
        (item, label, 1) for item in ("item/0", "item/1") for label in ("imagic", "copy")
    }


def test_a_report_is_the_table_of_a_run(bench: Run, run: Run, tmp_path: Path) -> None:
    done = bench("--limit", "2", "--methods", "copy")
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert "2 rows written" in done.stderr
    assert run("bench", "report", tmp_path / "out").stdout.startswith("| method |")
    lines = json.loads(run("bench", "report", tmp_path / "out", "--json").stdout)["lines"]
    assert [(line["label"], line["group"], line["rows"]) for line in lines][:1] == [("copy", "all", 2)]


def test_what_is_wrong_is_said_in_one_sentence(bench: Run, run: Run, tmp_path: Path) -> None:
    unknown = bench("--methods", "imagik")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "did you mean 'imagic'" in unknown.stderr
    assert bench("--shard", "3/2").exit_code == 1
    assert bench("--methods", ",").exit_code == 2
    assert bench("--methods", "copy", "--set", "num_steps=2").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert run("bench", "report", tmp_path / "empty").exit_code == 1


def test_metrics_are_measured_in_a_run_and_over_sets_in_a_report(bench: Run, run: Run, tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    clip_folder(clip)
    weights = ("--metric-weights", f"clip={clip}")
    bench("--limit", "2", "--methods", "copy", "--metrics", "clip-score, psnr:kept", *weights)
    table = run("bench", "report", tmp_path / "out", "--sets", "fid:clip,kid:clip", *weights).stdout
    assert "| memory MiB | clip-score | psnr:kept |" in table
    assert "\n| method | images | fid:clip | kid:clip |\n" in table
    report = json.loads(run("bench", "report", tmp_path / "out", "--sets", "fid:clip", *weights, "--json").stdout)
    assert set(report["lines"][0]["scores"]) >= {"psnr_truth", "clip-score", "psnr:kept"}
    (score,) = report["sets"]
    assert (score["label"], score["measure"], score["images"]) == ("copy", "fid:clip", 2)
    assert score["value"] > 0


def test_metrics_that_cannot_be_measured_stop_a_run_before_its_work(bench: Run, tmp_path: Path) -> None:
    missing = bench("--methods", "copy", "--metrics", "clip-score")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "The weights 'clip' are not given: write clip=PATH after --metric-weights" in missing.stderr
    assert "name=path" in bench("--methods", "copy", "--metric-weights", "clip").stderr
    assert not (tmp_path / "out").exists()


def test_a_users_list_is_swept_over_strengths(run: Run, model_folder: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 20, 30)
    listed = json_lines(tmp_path / "edits.jsonl", {"image": "a.png", "target": "a cat"})

    def call(*arguments: str | Path) -> Result:
        return run("bench", "run", "--out", tmp_path / "out", "--model", model_folder, "--suite", "pairs", *arguments)

    done = call("--data", listed, "--methods", "sdedit", "--sweep", "strength=0,0.5", "--set", "num_steps=2")
    assert "2 rows written (0 with an error)" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [(row["strength"], row["success"]) for row in rows] == [(0, None), (0.5, None)]
    assert "sdedit at 0.5" in run("bench", "report", tmp_path / "out").stdout
    assert "--data" in call("--methods", "sdedit").stderr
    assert "A sweep is written" in call("--data", listed, "--sweep", "eta").stderr
