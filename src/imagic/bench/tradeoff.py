"""Trade-off curves (DiffEdit, ICLR 2023, figures 5 and 6): alignment with the text against distance to the input.

A method's curve has one point per strength; each is a mean over the same items, those on which the method has both
values at every strength.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from imagic.bench.arms import by_label, strength_of
from imagic.bench.axes import Axis
from imagic.bench.estimates import Estimate, estimate
from imagic.bench.rows import Row
from imagic.bench.tables import Table, significant


@dataclass(frozen=True)
class TradeOff:
    """strength: None for a method that was run at its own."""

    strength: float | None
    distance: Estimate
    alignment: Estimate


def trade_offs(rows: Sequence[Row], distance: Axis, alignment: Axis) -> dict[str, list[TradeOff]]:
    """The curve of each method, by rising strength; methods without an item in common to all strengths are left out."""
    curves = {label: _curve(mine, distance, alignment) for label, mine in by_label(rows).items()}
    return {label: curve for label, curve in curves.items() if curve}


def _curve(rows: Sequence[Row], distance: Axis, alignment: Axis) -> list[TradeOff]:
    values: dict[float | None, dict[str, tuple[float | bool, float | bool]]] = {}
    for row in rows:
        pair = distance.value(row), alignment.value(row)
        if not row["error"] and pair[0] is not None and pair[1] is not None:
            values.setdefault(strength_of(row), {})[row["item"]] = (pair[0], pair[1])
    shared = set.intersection(*(set(items) for items in values.values())) if values else set()
    items = sorted(shared)  # so that the draws of the bootstrap do not hang on the order of the rows
    curve = []
    for strength in sorted(values, key=lambda each: -math.inf if each is None else each):
        x, y = (estimate([values[strength][item][side] for item in items]) for side in (0, 1))
        if x and y:
            curve.append(TradeOff(strength, x, y))
    return curve


def table(curves: dict[str, list[TradeOff]], distance: Axis, alignment: Axis) -> Table:
    """The points of a figure as text, for pages without figures."""
    body = [
        [
            label,
            "n/a" if point.strength is None else f"{point.strength:g}",
            str(point.distance.items),
            _shown(point.distance),
            _shown(point.alignment),
        ]
        for label, curve in curves.items()
        for point in curve
    ]
    header = ["method", "strength", "items", distance.label, alignment.label]
    return Table(header, body, f"Trade-off: {alignment.title} against {distance.title}")


def _shown(mean: Estimate) -> str:
    bounds = f" [{', '.join(map(significant, mean.interval))}]" if mean.interval else ""
    return significant(mean.value) + bounds
