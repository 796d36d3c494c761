"""Paired tests: two methods, or one method in two runs, on the items that they have in common.

Success is compared by McNemar's test, each distance or metric by the paired bootstrap: the mean of the items'
differences, with its interval. Pairs take out what makes items hard, which unpaired intervals leave in.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagic.bench.arms import by_arm, strength_of
from imagic.bench.axes import SUCCESS, Axis, comparable
from imagic.bench.bootstrap import bootstrap, bootstrap_p_value
from imagic.bench.mcnemar import mcnemar
from imagic.bench.rows import Row
from imagic.bench.tables import Table, number
from imagic.core.errors import OutputError

NOTE = (
    "Over the items that both have; differences are the first less the second. Success: McNemar's exact test on the"
    " items where one succeeds and the other fails (won and lost); an error is no success. Numbers: the mean difference"
    " with its 95 % interval and p, by the bootstrap over items; n/a where an infinite value (the PSNR of equal"
    " pictures) meets a finite one. p is not corrected for the number of comparisons."
)


@dataclass(frozen=True)
class Difference:
    """Of one number, the first less the second. mean: None when an item's difference is infinite; interval and p_value
    also for fewer than two items."""

    name: str
    items: int
    higher_is_better: bool
    mean: float | None
    interval: tuple[float, float] | None
    p_value: float | None


@dataclass(frozen=True)
class Comparison:
    """won, lost: items on which only the first, and only the second, succeeds. judged: items where both have a verdict.
    p_value: of McNemar's test, None where no item was judged."""

    first: str
    second: str
    items: int
    judged: int
    won: int
    lost: int
    p_value: float | None
    differences: list[Difference]


def compare_runs(rows: Sequence[Row], others: Sequence[Row], folder: Path, other: Path) -> list[Comparison]:
    """Every method that both runs have; if they share none and each has only one, these two.

    folder, other: of the runs, which are called after them. Raises OutputError when there is nothing to compare.
    """
    first, second = by_arm(rows), by_arm(others)
    pairs = [(arm, arm) for arm in first if arm in second]
    if not pairs and len(first) == len(second) == 1:
        pairs = [(next(iter(first)), next(iter(second)))]
    names = (folder.name, other.name) if folder.name != other.name else (str(folder), str(other))
    if not pairs:
        raise OutputError(
            f"The runs {names[0]} and {names[1]} have no method in common: compare runs of the same ones."
        )
    return [compare(f"{a} in {names[0]}", first[a], f"{b} in {names[1]}", second[b]) for a, b in pairs]


def compare_within(rows: Sequence[Row], baseline: str) -> list[Comparison]:
    """Every other method of a run with `baseline`, strength by strength where both were swept.

    baseline: a method, or one at a strength as the table names it. Raises OutputError when it is not in the run, or
    alone.
    """
    arms = by_arm(rows)
    if baseline in arms:
        pairs = [(arm, baseline) for arm in arms if arm != baseline]
    else:
        swept = [strength_of(mine[0]) for mine in arms.values() if mine[0]["label"] == baseline]
        pairs = [
            (arm, f"{baseline} at {strength:g}")
            for arm, mine in arms.items()
            if mine[0]["label"] != baseline and (strength := strength_of(mine[0])) is not None and strength in swept
        ]
        if not swept:
            raise OutputError(f"There is no '{baseline}' in this run: choose among {', '.join(arms)}.")
    if not pairs:
        raise OutputError(f"This run has nothing to compare '{baseline}' with: run another method into its folder.")
    return [compare(first, arms[first], second, arms[second]) for first, second in pairs]


def compare(first: str, rows: Sequence[Row], second: str, others: Sequence[Row]) -> Comparison:
    """Two arms on the items, of the same name and text, that both have. Raises OutputError when there is none."""
    found = {(row["item"], row["target_text"]): row for row in others}
    pairs = [(row, found[key]) for row in rows if (key := (row["item"], row["target_text"])) in found]
    if not pairs:
        raise OutputError(f"'{first}' and '{second}' have no item in common: compare runs of the same suite.")
    verdicts = [(SUCCESS.value(a), SUCCESS.value(b)) for a, b in pairs]
    judged = [(a, b) for a, b in verdicts if a is not None and b is not None]
    won, lost = (sum(pair == way for pair in judged) for way in ((True, False), (False, True)))
    axes = [axis for axis in comparable(rows) if axis in comparable(others)]
    differences = [_difference(axis, pairs) for axis in axes]
    return Comparison(
        first=first,
        second=second,
        items=len(pairs),
        judged=len(judged),
        won=won,
        lost=lost,
        p_value=mcnemar(won, lost) if judged else None,
        differences=[each for each in differences if each.items],
    )


def _difference(axis: Axis, pairs: Sequence[tuple[Row, Row]]) -> Difference:
    values = [(axis.value(a), axis.value(b)) for a, b in pairs]
    # Two infinite values are equal; their difference would be none.
    known = [0.0 if a == b else float(a) - float(b) for a, b in values if a is not None and b is not None]
    finite = bool(known) and all(map(math.isfinite, known))
    return Difference(
        name=axis.name,
        items=len(known),
        higher_is_better=axis.higher_is_better,
        mean=statistics.fmean(known) if finite else None,
        interval=bootstrap(known) if finite else None,
        p_value=bootstrap_p_value(known) if finite else None,
    )


def table(comparisons: Sequence[Comparison]) -> Table:
    names = list(dict.fromkeys(each.name for comparison in comparisons for each in comparison.differences))
    body = []
    for comparison in comparisons:
        found = {each.name: each for each in comparison.differences}
        body.append(
            [
                comparison.first,
                comparison.second,
                str(comparison.items),
                f"{comparison.won} : {comparison.lost}" if comparison.judged else "n/a",
                _p(comparison.p_value),
                *(_shown(found.get(name)) for name in names),
            ]
        )
    return Table(["first", "second", "items", "won : lost", "p", *names], body, "Paired comparisons", NOTE)


def _shown(difference: Difference | None) -> str:
    if difference is None or difference.mean is None:
        return "n/a"
    shown = f"{difference.mean:+.3g}"
    if difference.interval:
        shown += f" [{difference.interval[0]:+.3g}, {difference.interval[1]:+.3g}], p {_p(difference.p_value)}"
    return shown


def _p(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else number(value, 3)
