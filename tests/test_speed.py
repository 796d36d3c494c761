"""The benchmark of speed: what it counts, what it times, and the peer's schedule."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from benchmarks import speed
from benchmarks.speed_models import build, count, counted, kept

from imagic.core.losses import denoising_loss, fixed_pairs
from imagic.core.recomputing import kept_bytes
from imagic.core.types import Progress, TuningPlan

CPU, META = torch.device("cpu"), torch.device("meta")
STAGES = ("encode", "A", "B", "inversion", "sampling", "search")


def test_products_and_attention_are_counted_as_on_paper() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    assert counted(lambda: a @ b) == 2 * 3 * 4 * 5
    q, k = torch.randn(2, 8, 10, 16), torch.randn(2, 8, 7, 16)
    assert counted(lambda: F.scaled_dot_product_attention(q, k, k)) == 2 * (2 * 2 * 8 * 10 * 7 * 16)


@pytest.mark.parametrize("name", ["tiny-sd1", "tiny-flux"])
def test_what_has_no_storage_counts_as_what_has(name: str) -> None:
    """Also, of a step: backwards to the weights is about as much again as forwards twice, to a text less."""
    plan = TuningPlan("full")
    flop = count(build(name, META, torch.float32), plan)
    assert flop == count(build(name, CPU, torch.float32), plan)
    assert flop.forward < flop.embedding < flop.network
    assert flop.network == pytest.approx(3 * flop.forward, rel=0.1)


@pytest.mark.parametrize("name", ["tiny-sd1", "tiny-flux"])
def test_bytes_are_counted_without_storage(name: str) -> None:
    """Those of a real step, whose attention has a kernel that keeps as much."""
    plan, there = TuningPlan("lora"), build(name, CPU, torch.float32)
    found = kept(build(name, META, torch.float32), plan)
    assert found.recomputed < 0.8 * found.whole
    assert found.whole == pytest.approx(kept(there, plan).whole, rel=0.02)
    image = torch.zeros(1, 3, there.image_size, there.image_size)
    z0, text = there.encode(image), there.encode_text(["a dog"])
    with there.tuning(plan):
        one, two = (
            kept_bytes(lambda rows=rows: denoising_loss(there, z0, fixed_pairs(rows, there.levels, z0.shape[1:]), text))
            for rows in (1, 2)
        )
    assert found.whole == pytest.approx(two - one, rel=0.05)


@pytest.mark.parametrize(
    ("name", "parameters"), [("sd1.5", 859_520_964), ("sdxl", 2_567_463_684), ("flux", 11_901_408_320)]
)
def test_models_have_the_published_sizes(name: str, parameters: int) -> None:
    network = build(name, META, torch.bfloat16).network
    assert sum(each.numel() for each in network.parameters()) == parameters
    assert {each.dtype for each in network.parameters()} == {torch.bfloat16}


@pytest.mark.timeout(600)  # a busy machine makes little steps very slow
def test_its_smoke_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(speed, "PEAK_SECONDS", 0.05)
    path, presets = tmp_path / "out" / "speed.json", ["fast", "community"]
    asked = ["--smoke", "--device", "cpu", "--models", "tiny-sd1"]
    speed.main([*asked, "--presets", *presets, "--out", str(path)])
    written = json.loads(path.read_text(encoding="utf-8"))
    rows = {(row["model"], row["tuning"], row["preset"], row["stage"]): row for row in written["rows"]}
    expected = {("tiny-sd1", "full", "community", stage) for stage in ("A", "B")}
    expected |= {("tiny-sd1", tuning, "fast", stage) for tuning in ("full", "lora") for stage in STAGES}
    assert rows.keys() == expected
    for row in rows.values():
        assert row["ran"] == {"encode": 1, "search": row["ran"]}.get(row["stage"], speed.SMOKE_STEPS)
        assert row["ran"] <= row["steps"]
        assert row["seconds"] > 0
        assert (row["whole"] == row["seconds"]) == (row["stage"] == "encode")
        assert row["fraction"] > 0
        assert row["memory"]["mib"] > 0
        assert row["dtype"] in written["matrix_peak_flop_per_second"]
    fast, peer = (rows["tiny-sd1", "full", preset, "B"] for preset in presets)
    assert (fast["steps"], peer["steps"]) == (15, 1000)
    assert peer["dtype"] == "float32"
    # Four pairs in a step against one.
    assert fast["flop"] / fast["steps"] == 4 * peer["flop"] / peer["steps"]
    search = rows["tiny-sd1", "full", "fast", "search"]
    assert search["steps"] == (9 + 2) * (2 * 8 + 2 * 8)  # candidates, guided steps, pairs for agreement
    table = capsys.readouterr().out
    assert table.count("\n| tiny-") == len(rows) + 2  # and what gradients need, in both tunings
    assert "| 3/1000 |" in table


def test_flop_alone_run_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(speed, "measure", lambda *_: pytest.fail("it ran"))
    speed.main(["--count", "--models", "tiny-flux", "--presets", "paper"])
    out = capsys.readouterr().out
    assert "| 0/1500 | n/a | n/a |" in out
    assert "| tiny-flux | lora | 0.00 | 0.00 |" in out


def test_memory_that_runs_out_is_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def out(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(speed, "measure", out)
    speed.main(["--models", "tiny-flux", "--presets", "fast"])
    assert capsys.readouterr().out.count("memory ran out") == len(STAGES)


def test_the_peers_schedule() -> None:
    """500 and 1000 steps; Adam's first step moves every number by the rate."""
    backbone = build("tiny-sd1", CPU, torch.float32)
    before = {name: each.clone() for name, each in backbone.network.named_parameters()}
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    totals = {}

    def clock(name: str, work: Generator[Progress, None, Any]) -> None:
        for progress in work:
            totals[name] = progress.total

    speed.run_community(backbone, image, 1, clock)
    assert totals == {"A": 500, "B": 1000}
    moved = torch.cat([(each.detach() - before[name]).flatten() for name, each in backbone.network.named_parameters()])
    assert float(moved.abs().max()) == pytest.approx(2e-6, rel=0.1)
    assert (moved.abs() > 1e-6).float().mean() > 0.9


def test_it_runs_as_a_file_from_anywhere(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, speed.__file__, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--presets" in done.stdout
