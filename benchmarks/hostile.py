"""Give hostile input to the command line and the service, and count how each case ends.

    python benchmarks/hostile.py --cases 10000 --seed 0 --out out/hostile.json

Each case must end in success or in one clear sentence, in bounded time and memory, and leave no file behind. A case
that does not is written below --keep; `--again FILE` gives it once more. The model is a random one of 16 x 16 pixels,
made in memory, since hardly any hostile input may get so far as to need one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Little is imported up here: every process that decodes an upload imports this file too.
if TYPE_CHECKING:
    from benchmarks.hostile_cases import Case
    from benchmarks.hostile_run import Ended, Limits

KEPT = 200  # violations that are written down
LONGEST_COMMAND = 100_000  # characters; a system takes no argument of more than 128 KiB


@dataclass
class Report:
    """ends: how many cases by surface, kind and end. violations: what is wrong, with the file that reproduces it."""

    ends: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    processes: int = 0
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[float, str] = (0.0, "")
    violations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return sum(sum(ends.values()) for kinds in self.ends.values() for ends in kinds.values())

    def add(self, case: Case, ended: Ended, keep: Path) -> None:
        """keep: the folder of violations, which need not be there."""
        ends = self.ends.setdefault(case.surface, {}).setdefault(case.kind, Counter())
        ends["violated" if ended.wrong else "succeeded" if ended.ok else "refused"] += 1
        name = f"{case.surface}, {case.kind}"
        self.slowest = max(self.slowest, (round(ended.seconds, 2), name))
        self.largest = max(self.largest, (round(ended.megabytes, 1), name))
        if ended.wrong:
            path = keep / f"{len(self.violations):04d}.json"
            if len(self.violations) < KEPT:
                keep.mkdir(parents=True, exist_ok=True)
                path.write_text(case.to_json(), encoding="utf-8")
            self.violations.append({"case": name, "wrong": list(ended.wrong), "file": str(path)})

    def facts(self) -> dict[str, Any]:
        totals: Counter[str] = Counter()
        for kinds in self.ends.values():
            for ends in kinds.values():
                totals += ends
        return {
            "cases": self.cases,
            "ends": dict(totals),
            "by_surface_and_kind": {
                name: {kind: dict(ends) for kind, ends in sorted(kinds.items())} for name, kinds in self.ends.items()
            },
            "of_them_in_processes_of_their_own": self.processes,
            "slowest_case": self.slowest,
            "largest_growth_of_memory_in_megabytes": self.largest,
            "violations": self.violations,
        }


def trial(
    root: Path, cases: int, seed: int, keep: Path, limits: Limits, processes: int = 0, surface: str = "", kind: str = ""
) -> Report:
    """Run so many cases. root: an empty folder. processes: how many of the command line's run as processes, too.
    surface, kind: only these; a kind may be the beginning of its name."""
    import hypothesis
    from benchmarks.hostile_cases import all_cases
    from benchmarks.hostile_run import Range

    report, drawn = Report(), 0
    with Range(root, limits) as place:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=cases,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(all_cases(place.sound, surface, kind))
        def each(case: Case) -> None:
            nonlocal drawn
            drawn += 1
            report.add(case, place.run(case), keep)
            due = drawn * processes // cases > report.processes
            if due and case.command and sum(map(len, case.command)) < LONGEST_COMMAND:
                report.processes += 1
                report.add(case, place.run(case, process=True), keep)

        each()
    return report


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.hostile_run import Limits

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=20, help="of the command lines, run as real processes")
    parser.add_argument("--surface", choices=("cli", "api"), default="")
    parser.add_argument("--kind", default="", help="how the names of the kinds begin, say 'weights: wrong model'")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="that a case may take")
    parser.add_argument("--megabytes", type=float, default=Limits.megabytes, help="that a case may take")
    parser.add_argument("--keep", type=Path, default=Path("out/hostile"), help="where violations are written")
    parser.add_argument("--again", type=Path, help="one of them, to be run once more")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    keep, out = asked.keep.absolute(), asked.out and asked.out.absolute()
    limits, started = Limits(asked.seconds, asked.megabytes), time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        if asked.again is not None:
            sys.exit(_again(Path(temporary) / "range", asked.again, limits))
        root = Path(temporary) / "range"
        report = trial(root, asked.cases, asked.seed, keep, limits, asked.processes, asked.surface, asked.kind)
    facts = report.facts() | {
        "seed": asked.seed,
        "limits": {"seconds": asked.seconds, "megabytes": asked.megabytes},
        "seconds": round(time.monotonic() - started, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
    }
    print(json.dumps(facts, indent=2))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if report.violations:
        sys.exit(1)


def _again(root: Path, file: Path, limits: Limits) -> int:
    """Run a case that was written down; returns the exit code."""
    from benchmarks.hostile_cases import Case
    from benchmarks.hostile_run import Range

    case = Case.from_json(file.read_text(encoding="utf-8"))
    with Range(root, limits) as place:
        ended = place.run(case)
    shown = {
        "command": case.command,
        "ok": ended.ok,
        "said": ended.said,
        "wrong": ended.wrong,
        "seconds": ended.seconds,
    }
    print(json.dumps(shown, indent=2))
    return 1 if ended.wrong else 0


if __name__ == "__main__":
    main()
