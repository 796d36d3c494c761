"""The lines of a run's table: success per group and in all, distances, seconds and memory per arm."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from imagic.bench.arms import by_arm
from imagic.bench.estimates import Estimate, estimate
from imagic.bench.rows import Row
from imagic.bench.wilson import wilson

ALL = "all"

SCORES = (
    "psnr_truth",
    "ssim_truth",
    "psnr_input",
    "psnr_kept",
    "ssim_kept",
    "psnr_delivered_truth",
    "psnr_delivered_kept",
    "psnr_roundtrip_input",
    "psnr_reconstruction_input",
    "psnr_reconstruction_roundtrip",
)


@dataclass(frozen=True)
class Share:
    """Successes of trials, with the 95 % Wilson interval."""

    successes: int
    trials: int

    def __str__(self) -> str:
        if not self.trials:
            return "n/a"
        low, high = wilson(self.successes, self.trials)
        return f"{self.successes / self.trials:.0%} [{low:.0%}, {high:.0%}]"


@dataclass(frozen=True)
class Line:
    """One arm on one group. A mean is None where no row has the value.

    label: the method, and its strength in a sweep over strengths. rows, failed, unjudged: how many in all, with an
    error (they count as no success), and with no counting asked fact or no judge (they are left out of the shares).
    delivered: success of the result laid over the input, as users get it. best_eta: success if the best image of each
    sweep had been chosen. ceiling: success of the true edit after the image coder. intervals: of the means in `scores`,
    95 %, by the bootstrap over items; None where fewer than two items have the value.
    """

    label: str
    group: str
    rows: int
    failed: int
    unjudged: int
    success: Share
    asked: Share
    kept: Share
    individual: Share
    delivered: Share
    best_eta: Share
    ceiling: Share
    scores: dict[str, float | None]
    intervals: dict[str, tuple[float, float] | None]
    fit_seconds: float | None
    edit_seconds: float | None
    peak_memory_mib: float | None


def summarise(rows: Sequence[Row]) -> list[Line]:
    """Per arm, the line over all groups and then one per group, in the order in which the rows came."""
    lines = []
    for name, mine in by_arm(rows).items():
        lines.append(_line(name, ALL, mine))
        for group in dict.fromkeys(row["group"] for row in mine):
            lines.append(_line(name, group, [row for row in mine if row["group"] == group]))
    return lines


def measures_of(rows: Iterable[Row]) -> dict[str, str]:
    """The metrics that were asked for beside the runner's own, by name, and the weights that they used."""
    return {name: weights for row in rows for name, weights in row.get("measures", {}).items()}


def score_of(row: Row, name: str) -> float | None:
    """A distance or metric of a row; None for a row with an error and where it is not available."""
    value = None if row["error"] else row["scores"].get(name)
    return None if value is None else float(value)  # an infinite one is written as "inf"


def part_of(row: Row, verdict: str, part: str) -> bool | None:
    """A part of another verdict than the row's own ("delivered", "ceiling"); None where nothing was judged."""
    found: Any = (row.get(verdict) or {}).get(part)
    return None if found is None else bool(found)


def _line(label: str, group: str, rows: Sequence[Row]) -> Line:
    good = [row for row in rows if not row["error"]]
    failed = len(rows) - len(good)
    memory = [row["peak_memory"]["mib"] for row in rows]
    means: dict[str, Estimate | None] = {
        name: estimate([score_of(row, name) for row in good]) for name in (*SCORES, *measures_of(rows))
    }
    return Line(
        label=label,
        group=group,
        rows=len(rows),
        failed=failed,
        unjudged=sum(row["success"] is None for row in good),
        success=_share((row["success"] for row in good), failed),
        asked=_share((row["asked"] for row in good), failed),
        kept=_share((row["kept"] for row in good), failed),
        individual=_share((row["individual"] for row in good), failed),
        delivered=_share((part_of(row, "delivered", "success") for row in good), failed),
        best_eta=_share((_best_of(row) for row in good), failed),
        ceiling=_share((part_of(row, "ceiling", "success") for row in good), 0),
        scores={name: mean.value if mean else None for name, mean in means.items()},
        intervals={name: mean.interval if mean else None for name, mean in means.items()},
        fit_seconds=_median(row["seconds"]["fit"] for row in good),
        edit_seconds=_median(row["seconds"]["edit"] for row in good),
        peak_memory_mib=max(memory, default=None),
    )


def _share(outcomes: Iterable[bool | None], failed: int) -> Share:
    known = [outcome for outcome in outcomes if outcome is not None]
    return Share(sum(known), len(known) + failed)


def _best_of(row: Row) -> bool | None:
    outcomes = [row["success"], *(each["success"] for each in row["sweep"])]
    return None if row["success"] is None else any(outcomes)


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None
