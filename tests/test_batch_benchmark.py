"""benchmarks/batch.py: what it calls wrong, its tables and its sums; the runs themselves are its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.batch import checked, cost, tables
from PIL import Image


def folder(tmp_path: Path) -> Path:
    """Four results: whole, without a line, with two lines, and cut off; and a file that should not be there."""
    outputs = ["0.png", "1.png", "2.png", "3.png"]
    for name in outputs:
        Image.new("RGB", (64, 64), (200, 10, 10)).save(tmp_path / name)
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:90])
    (tmp_path / ".x.part.png").touch()
    lines = [{"output": name, "error": None} for name in ("0.png", "2.png", "2.png", "3.png")]
    lines.append({"output": "1.png", "error": "no"})  # type: ignore[dict-item]
    (tmp_path / "report.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"outp')
    return tmp_path


def test_what_is_lost_doubled_cut_off_or_left_over_is_found(tmp_path: Path) -> None:
    wrong, hashes = checked(folder(tmp_path), ["0.png", "1.png", "2.png", "3.png"])
    assert wrong == {"lost": ["1.png"], "doubled": ["2.png"], "half-written": ["3.png"], "left over": [".x.part.png"]}
    assert hashes["0.png"] == hashes["2.png"]
    assert set(hashes) == {"0.png", "2.png"}


def test_efficiency_is_against_one_process_at_equal_threads() -> None:
    none: dict[str, list[str]] = {"lost": [], "doubled": [], "half-written": [], "left over": []}
    report = {
        "limit": 100,
        "machine": "a machine",
        "runs": {"inline": {"seconds": 200.0, "wrong": none}, "workers": {"seconds": 160.0, "wrong": none}},
        "kills": {"a worker": {"wrong": {**none, "lost": ["7.png"]}, "other_pixels": ["8.png", "9.png"]}},
        "planning": {"lines": 10, "seconds": 0.5, "bytes_per_line": 2048},
    }
    page = tables(report)
    assert "| workers | 160 | 2250 | 1.25 | 0 |" in page
    assert "| a worker | 1 | 0 | 0 | 0 | 2 |" in page


def test_the_cost_is_a_product() -> None:
    rows = [
        {"error": None, "seconds": {"fit": 50.0, "edit": 4.0}},
        {"error": None, "seconds": {"fit": 14.0, "edit": 4.0}},
        {"error": "no", "seconds": {"fit": 1e9, "edit": 0.0}},
    ]
    assert cost(rows, price=2.0, machines=10) == {
        "seconds_per_edit": 36.0,
        "gpu_hours": pytest.approx(10_000),
        "hours": pytest.approx(1_000),
        "money": pytest.approx(20_000),
    }
