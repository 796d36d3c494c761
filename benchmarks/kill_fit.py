"""Kill edits at random moments, give the same command again, and compare the pixels with an edit that was left alone.

    python benchmarks/kill_fit.py --times 200 --out out/kill_fit.json

A chain is one edit with a cache of its own: it is killed with SIGKILL at a moment drawn evenly from the time that the
edit takes from loading the model on, started again, and so on; when it gets to its end, its picture is compared and the
next chain begins. The model is a random one of Stable Diffusion's layout with 16 x 16 pixels, made in memory, so that
what is measured is the keeping and not the fitting.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STEPS = ("embedding_steps=150", "embedding_pairs=1", "network_steps=150", "network_pairs=1", "measured_pairs=2")
EDIT = ("candidates=3", "refine=0", "search_steps=2", "agreement_pairs=2", "num_steps=2")


@dataclass
class Report:
    """kills: by the stage that was shown last. resumed: runs that went on from a checkpoint; found: that found the
    finished fit. chains: edits that got to their end, wrong: those with other pixels. left: files that no run should
    leave behind."""

    kills: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    found: int = 0
    chains: int = 0
    wrong: list[int] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds_alone: float = 0.0


@dataclass(frozen=True)
class Run:
    """How a run ended. stage: the last one that it told of."""

    killed: bool
    stage: str
    seconds: float
    said: Sequence[str]


def run(command: Sequence[str], environment: Mapping[str, str], after: float | None) -> Run:
    """Run `imagic` with SIGKILL so many seconds after it begins to load its model; None: left alone."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imagic.cli", *command],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    started, killer = 0.0, None
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.strip())
        if line.startswith("Loading"):
            started = time.monotonic()
            if after is not None:
                killer = threading.Timer(after, process.send_signal, [signal.SIGKILL])
                killer.start()
    code = process.wait()
    if killer is not None:
        killer.cancel()
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError("\n".join(said))
    stages = [line for line in said if not line.startswith("Warning")]
    return Run(code != 0, stages[-1].partition(" (")[0] if stages else "", time.monotonic() - started, said)


def trial(folder: Path, model: Path, times: int, seed: int, news: Callable[[str], None] = print) -> Report:
    """Kill `times` times. folder: an empty one. model: a folder with a model."""
    draw, report = random.Random(seed), Report()
    picture = folder / "dog.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(picture)
    options = [part for each in (*STEPS, *EDIT) for part in ("--set", each)]
    # As often as the share of the time that writing may take allows. A kill may come after the picture was written.
    keeping = ["--checkpoint-seconds", "0", "--overwrite"]
    command = ["edit", str(picture), "a sitting dog", "--model", str(model), *options, *keeping]

    def edit(chain: int, after: float | None) -> Run:
        out = folder / f"{chain}.png"
        return run([*command, "-o", str(out)], {"IMAGIC_CACHE_DIR": str(folder / f"cache-{chain}")}, after)

    alone = edit(0, None)
    expected, report.seconds_alone = pixels(folder / "0.png"), alone.seconds
    while sum(report.kills.values()) < times:
        report.chains += 1
        killed = True
        while killed:
            more = sum(report.kills.values()) < times
            ended = edit(report.chains, draw.uniform(0, alone.seconds) if more else None)
            killed = ended.killed
            report.kills[ended.stage] += killed
            report.found += any(line.startswith("fit found") for line in ended.said)
            report.resumed += any(line.startswith("going on") for line in ended.said)
        if pixels(folder / f"{report.chains}.png") != expected:
            report.wrong.append(report.chains)
        report.left += [path.name for path in folder.rglob("*") if ".part" in path.name or "checkpoint" in path.name]
        news(f"chain {report.chains}: {sum(report.kills.values())} kills so far")
    return report


def pixels(path: Path) -> str:
    with Image.open(path) as image:
        return hashlib.sha256(image.tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    from tests.conftest import build_pipeline

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build_pipeline(word_level=True).save_pretrained(folder / "model")
        report = trial(folder, folder / "model", asked.times, asked.seed)
    facts: dict[str, Any] = {
        "kills": sum(report.kills.values()),
        "kills_by_stage": dict(report.kills.most_common()),
        "runs_gone_on_from_a_checkpoint": report.resumed,
        "runs_that_found_the_fit": report.found,
        "edits": report.chains,
        "edits_with_other_pixels": report.wrong,
        "files_left": report.left,
        "seconds_of_an_edit_from_loading_on": round(report.seconds_alone, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
    }
    print(json.dumps(facts, indent=2))
    if asked.out is not None:
        asked.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if report.wrong or report.left:
        sys.exit(1)


if __name__ == "__main__":
    main()
