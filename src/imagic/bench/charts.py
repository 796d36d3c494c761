"""The figures of a run, as far as its rows have what they show."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from imagic.bench import figures, tradeoff
from imagic.bench.arms import by_arm, by_label, strength_of
from imagic.bench.axes import Axis, alignments, distances, pick, qualities
from imagic.bench.curves import Point, eta_curve, panels_of, value_of
from imagic.bench.estimates import estimate
from imagic.bench.figures import Mark
from imagic.bench.rows import Row
from imagic.bench.sheet import best_arm
from imagic.bench.tables import Table
from imagic.core.errors import OutputError


@dataclass(frozen=True)
class Chart:
    """A figure. name: such as "time", once per report. svg: an <svg> element. note: how to read it."""

    name: str
    title: str
    note: str
    svg: str


def trade_off_axes(rows: Sequence[Row], distance: str = "", alignment: str = "") -> list[tuple[Axis, Axis]]:
    """Pairs of a distance to the input and an alignment: those named, else the first distance with every alignment.

    Empty when a run has none of either. Raises OptionError for a name that the rows have no value of.
    """
    xs, ys = distances(rows), alignments(rows)
    xs = [pick(xs, distance)] if distance else xs[:1]
    ys = [pick(ys, alignment)] if alignment else ys
    return [(x, y) for x in xs for y in ys]


def trade_off_tables(rows: Sequence[Row], axes: Sequence[tuple[Axis, Axis]]) -> list[Table]:
    return [tradeoff.table(tradeoff.trade_offs(rows, x, y), x, y) for x, y in axes]


def charts(rows: Sequence[Row], axes: Sequence[tuple[Axis, Axis]]) -> list[Chart]:
    """Trade-offs on `axes`, curves against eta, time against quality, and quality per group.

    Raises NotAvailable without matplotlib.
    """
    found = [_trade_off(rows, x, y, f"trade-off-{index}") for index, (x, y) in enumerate(axes)]
    found += _eta(rows)
    if quality := next(iter(qualities(rows)), None):
        found += [_time(rows, quality), _groups(rows, quality)]
    return found


def _trade_off(rows: Sequence[Row], distance: Axis, alignment: Axis, name: str) -> Chart:
    curves = tradeoff.trade_offs(rows, distance, alignment)
    series = {
        label: [Mark(p.distance, p.alignment, "" if p.strength is None else f"{p.strength:g}") for p in curve]
        for label, curve in curves.items()
    }
    note = (
        "One marker per strength, the lowest and the highest named; each is a mean over the same items, with its 95 %"
        " interval. Means that are infinite are only in the table."
    )
    falling = distance.higher_is_better  # so that the distance itself grows to the right
    svg = figures.curves(name, series, distance.label, alignment.label, list(by_label(rows)), falling=falling)
    return Chart(name, f"Trade-off: {alignment.title} against {distance.title}", note, svg)


def _eta(rows: Sequence[Row]) -> list[Chart]:
    curves = _eta_curves(rows)
    found = []
    for index, panel in enumerate(panels_of(curves) if curves else ()):
        series = {
            label: [Mark(p.eta, value) for p in curve if (value := value_of(p, panel)) is not None]
            for label, curve in curves.items()
        }
        name = f"eta-{index}"
        svg = figures.curves(name, series, "eta", panel, list(by_label(rows)))
        found.append(Chart(name, f"{panel} against eta", "Means over the etas at which every item was looked at.", svg))
    return found


def _eta_curves(rows: Sequence[Row]) -> dict[str, list[Point]]:
    """Of the methods that looked at every item at one eta at least."""
    curves = {}
    for label in by_label(rows):
        try:
            curves[label] = eta_curve(rows, label)
        except OutputError:
            continue
    return curves


def _time(rows: Sequence[Row], quality: Axis) -> Chart:
    series: dict[str, list[Mark]] = {}
    for arm in by_arm(rows).values():
        good = [row for row in arm if not row["error"]]
        mean = estimate([quality.value(row) for row in arm])
        if good and mean:
            seconds = statistics.median(row["seconds"]["fit"] + row["seconds"]["edit"] for row in good)
            strength = strength_of(arm[0])
            # A logarithmic axis has no 0, which the rounding of the rows can give.
            mark = Mark(max(seconds, 1e-3), mean, "" if strength is None else f"{strength:g}")
            series.setdefault(arm[0]["label"], []).append(mark)
    note = "The median of an item's fit and edit, on the hardware named above."
    svg = figures.curves("time", series, "seconds per item", quality.label, list(by_label(rows)), log=True)
    return Chart("time", f"Time against {quality.title}", note, svg)


def _groups(rows: Sequence[Row], quality: Axis) -> Chart:
    groups = list(dict.fromkeys(row["group"] for row in rows))
    series = {}
    for label in by_label(rows):
        arm = best_arm(rows, label)
        means = {group: estimate([quality.value(row) for row in arm if row["group"] == group]) for group in groups}
        series[label] = {group: mean for group, mean in means.items() if mean}
    note = "Of a method with several strengths, the one with the most successes. Lines are 95 % intervals."
    svg = figures.bars("groups", groups, series, quality.label)
    return Chart("groups", f"{quality.title} per group", note, svg)
