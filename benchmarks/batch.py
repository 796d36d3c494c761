"""Many edits by one process, by several and by Ray at equal threads; then the same with processes killed in the middle.

    python benchmarks/batch.py run --limit 100 --out out/batch.json
    python benchmarks/batch.py run --limit 6 --tiny --out out/batch-tiny.json
    python benchmarks/batch.py tables out/batch.json --fill docs/scale.md
    python benchmarks/batch.py cost out/gpu/report.jsonl --price 2.5 --machines 8

`run` makes one picture and text per edit (held-out scenes of the menagerie, or noise for --tiny, whose model is a
random one of 16 x 16 pixels), gives the same table to `imagic batch` in each way, each with a cache of its own, and
checks afterwards that every job has one line and one whole picture, with the pixels of a run that nobody disturbed.
Ray runs in a network namespace where one can be had, since it listens on every address. `cost` takes the seconds of a
report that was made on one GPU kind; the price is the user's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODES: dict[str, tuple[str, ...]] = {
    "inline": (),
    "workers": ("--workers", "2"),
    "ray": ("--ray", "local", "--workers", "2"),
}
# What is killed: the mode, and how its command line looks; the driver is found by its process.
KILLS = {
    "a worker": ("workers", "imagic.batch.worker"),
    "a Ray actor": ("ray", "ray::Seat"),
    "the driver": ("workers", ""),
}
TINY = (
    *("embedding_steps=20", "embedding_pairs=1", "network_steps=20", "network_pairs=1", "measured_pairs=2"),
    *("candidates=3", "refine=0", "search_steps=2", "agreement_pairs=2", "num_steps=2"),
)
TOKEN = "IMAGIC_BATCH_BENCHMARK"  # in the environment of all processes of a run, by which they are found
PLANNED = 20_000  # lines of the table whose reading and planning is timed
BLOCK = re.compile(r"(<!-- measured: batch -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Run:
    """A run of `imagic batch`. seconds: from its start to its end, with loading; code: its exit code."""

    seconds: float
    code: int


def apart() -> list[str]:
    """What runs a program in a network namespace with only its own loopback; empty where that cannot be had."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return []
    command = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else []


def batch(
    table: Path, out: Path, cache: Path, mode: str, options: Sequence[str], disturb: Callable[[int, str], bool] | None
) -> Run:
    """`imagic batch` as a user runs it, with all threads together on every processor. disturb: called with the number
    of lines in the report and the token of the run until it returns true."""
    count = 1 if mode == "inline" else 2
    token = f"{os.getpid()}-{time.monotonic_ns()}"
    threads = str(max(1, len(os.sched_getaffinity(0)) // count))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "IMAGIC_CACHE_DIR": str(cache), TOKEN: token}
    command = [sys.executable, "-m", "imagic.cli", "batch", str(table), "--out", str(out), *options, *MODES[mode]]
    started = time.monotonic()
    prefix = apart() if mode == "ray" else []
    process = subprocess.Popen([*prefix, *command], env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if disturb is not None and disturb(len(lines(out)), token):
            disturb = None
        time.sleep(0.05)
    return Run(time.monotonic() - started, process.returncode)


def lines(out: Path) -> list[dict[str, Any]]:
    """The whole lines of the report, as far as it is."""
    path = out / "report.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def processes(token: str, pattern: str) -> list[int]:
    """The processes of a run whose command line has the pattern."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{TOKEN}={token}".encode() in (folder / "environ").read_bytes()
            if ours and pattern.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # gone meanwhile
            continue
    return sorted(found)


def killer(pattern: str, after: int) -> Callable[[int, str], bool]:
    """Kills one process of that pattern with SIGKILL once so many lines are written."""

    def disturb(written: int, token: str) -> bool:
        if written < after:
            return False
        if not (found := processes(token, pattern)):
            return False
        os.kill(found[0], signal.SIGKILL)
        return True

    return disturb


def checked(out: Path, outputs: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """What is wrong in a folder of results, by kind, and the hash of each picture's pixels."""
    counts = Counter(line["output"] for line in lines(out) if line["error"] is None)
    hashes: dict[str, str] = {}
    wrong: dict[str, list[str]] = {"lost": [], "doubled": [], "half-written": [], "left over": []}
    for name in outputs:
        if counts[name] == 0 or not (out / name).exists():
            wrong["lost"].append(name)
            continue
        if counts[name] > 1:
            wrong["doubled"].append(name)
        try:
            with Image.open(out / name) as image:
                hashes[name] = hashlib.sha256(image.tobytes()).hexdigest()
        except (OSError, SyntaxError):
            wrong["half-written"].append(name)
    known = {*outputs, "report.jsonl", "report.lock"}
    wrong["left over"] = sorted(
        str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name not in known
    )
    return wrong, hashes


def prepared(folder: Path, limit: int, tiny: bool) -> tuple[Path, list[str], list[str]]:
    """A table of `limit` edits, the names of their results, and the options of the command."""
    folder.mkdir()
    table, outputs = folder / "jobs.jsonl", [f"{index:04d}.png" for index in range(limit)]
    texts = pictures(folder, outputs, tiny)
    rows = [{"image": name, "text": text, "output": name} for name, text in zip(outputs, texts, strict=True)]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if not tiny:
        return table, outputs, []
    from tests.conftest import build_pipeline

    build_pipeline(word_level=True).save_pretrained(folder / "model")
    return table, outputs, ["--model", str(folder / "model"), *(part for each in TINY for part in ("--set", each))]


def pictures(folder: Path, names: Sequence[str], tiny: bool) -> list[str]:
    """Write a picture under each name; their texts."""
    if tiny:
        for index, name in enumerate(names):
            pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
        return ["a sitting dog"] * len(names)
    import torch

    from imagic.core.images import to_rgb
    from imagic.menagerie.edits import held_out_edits
    from imagic.menagerie.render import render

    edits = held_out_edits(len(names), 0)
    for name, edit in zip(names, edits, strict=True):
        Image.fromarray(to_rgb(render([edit.source], 128, torch.device("cpu"))[0])).save(folder / name)
    return [edit.target_text for edit in edits]


def planning(folder: Path, count: int) -> dict[str, float]:
    """Seconds and memory of the driver for so many lines, before any work."""
    from imagic.batch.jobs import Defaults
    from imagic.batch.reading import read_jobs
    from imagic.batch.results import Results
    from imagic.batch.shards import ALL

    folder.mkdir()
    table = folder / "jobs.jsonl"
    with table.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"image": f"{index}.png", "text": "a sitting dog"}) + "\n" for index in range(count))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    jobs = read_jobs(table, Defaults())
    results = Results(folder / "out", {}, ALL)
    with results.opened():
        plan = results.plan(jobs)
    seconds = time.monotonic() - started
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"lines": len(plan.tasks), "seconds": round(seconds, 2), "bytes_per_line": round(1024 * kib / count)}


def measured(limit: int, tiny: bool, modes: Sequence[str], more: Sequence[str]) -> dict[str, Any]:
    """All runs and their checks. more: options for `imagic batch`."""
    report: dict[str, Any] = {"limit": limit, "options": list(more), "runs": {}, "kills": {}}
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        report["planning"] = planning(home / "planning", PLANNED)
        table, outputs, options = prepared(home / "jobs", limit, tiny)
        options += more

        def go(name: str, mode: str, disturb: Callable[[int, str], bool] | None = None) -> Run:
            place = home / name.replace(" ", "-")
            return batch(table, place / "out", place / "cache", mode, options, disturb)

        expected: dict[str, dict[str, str]] = {}
        for mode in modes:
            ended = go(mode, mode)
            wrong, expected[mode] = checked(home / mode / "out", outputs)
            rows = [line["seconds"] for line in lines(home / mode / "out") if line["error"] is None]
            work = [row["fit"] + row["edit"] for row in rows]
            report["runs"][mode] = {
                "seconds": round(ended.seconds, 1),
                "code": ended.code,
                "seconds_per_edit_within": round(statistics.mean(work), 3) if work else None,
                "wrong": wrong,
            }
            print(mode, report["runs"][mode], flush=True)
        for what, (mode, pattern) in KILLS.items():
            if mode not in modes:
                continue
            ended = go(what, mode, killer(pattern or "imagic.cli", max(1, limit // 2)))
            again = go(what, mode) if pattern == "" else None
            wrong, hashes = checked(home / what.replace(" ", "-") / "out", outputs)
            others = sorted(name for name in outputs if hashes.get(name) != expected[mode].get(name))
            report["kills"][what] = {
                "code": ended.code,
                "seconds": round(ended.seconds + (again.seconds if again else 0), 1),
                "wrong": wrong,
                "other_pixels": others,
            }
            print(what, report["kills"][what], flush=True)
        if {"inline", "workers"} <= expected.keys():
            same = sum(expected["inline"].get(name) == expected["workers"].get(name) for name in outputs)
            report["same_pixels_inline_and_workers"] = same
    report["machine"] = f"{_processor()}, {len(os.sched_getaffinity(0))} processors, Python {platform.python_version()}"
    return report


def tables(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    limit, runs = report["limit"], report["runs"]
    inline = runs.get("inline", {}).get("seconds")
    text = [f"{limit} edits on {report['machine']}.", ""]
    text += ["| way | seconds | edits per hour | efficiency | wrong |", "|---|---|---|---|---|"]
    for mode, run in runs.items():
        efficiency = f"{inline / run['seconds']:.2f}" if inline else ""
        wrong = sum(map(len, run["wrong"].values()))
        text.append(f"| {mode} | {run['seconds']:.0f} | {3600 * limit / run['seconds']:.0f} | {efficiency} | {wrong} |")
    text += ["", "| killed with SIGKILL | lost | doubled | half-written | left over | other pixels |"]
    text.append("|---|---|---|---|---|---|")
    for what, kill in report["kills"].items():
        counts = [str(len(names)) for names in (*kill["wrong"].values(), kill["other_pixels"])]
        text.append(f"| {what} | {' | '.join(counts)} |")
    planning = report["planning"]
    text += ["", f"Reading and planning {planning['lines']} lines took {planning['seconds']} s and"]
    text.append(f"{planning['bytes_per_line']} bytes of the driver's memory per line.")
    return "\n".join(text) + "\n"


def cost(rows: Sequence[Mapping[str, Any]], price: float, machines: int, edits: int = 10**6) -> dict[str, float]:
    """Hours of one GPU, hours of so many, and money, from the seconds of a report's lines."""
    seconds = statistics.mean(row["seconds"]["fit"] + row["seconds"]["edit"] for row in rows if row["error"] is None)
    hours = edits * seconds / 3600
    return {"seconds_per_edit": seconds, "gpu_hours": hours, "hours": hours / machines, "money": hours * price}


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1] if found else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--limit", type=int, default=100)
    run.add_argument("--tiny", action="store_true")
    run.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    run.add_argument("--out", type=Path)
    run.add_argument("--batch", default="", help="options for imagic batch, such as '--preset fast'")
    shown = commands.add_parser("tables")
    shown.add_argument("report", type=Path)
    shown.add_argument("--fill", type=Path)
    priced = commands.add_parser("cost")
    priced.add_argument("report", type=Path)
    priced.add_argument("--price", type=float, required=True, help="of one GPU for an hour")
    priced.add_argument("--machines", type=int, default=1, help="GPUs at work at the same time")
    asked = parser.parse_args()
    if asked.command == "cost":
        rows = [json.loads(line) for line in asked.report.read_text(encoding="utf-8").splitlines()]
        print(json.dumps(cost(rows, asked.price, asked.machines), indent=2))
    elif asked.command == "tables":
        text = tables(json.loads(asked.report.read_text(encoding="utf-8")))
        print(text)
        if asked.fill is not None:
            page = asked.fill.read_text(encoding="utf-8")
            asked.fill.write_text(BLOCK.sub(lambda match: match[1] + text + match[2], page), encoding="utf-8")
    else:
        report = measured(asked.limit, asked.tiny, asked.modes, asked.batch.split())
        if asked.out is not None:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        found = [*report["runs"].values(), *report["kills"].values()]
        if any(any(each["wrong"].values()) or each.get("other_pixels") for each in found):
            sys.exit(1)


if __name__ == "__main__":
    main()
