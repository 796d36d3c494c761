"""Mean text agreement and closeness to the input against eta, over the sweeps of a run (Imagic's trade-off of
editability and fidelity).

Only etas at which every item was looked at are shown, so that all points of a curve are means over the same items.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagic.bench.rows import Row
from imagic.core.errors import NotAvailable, OutputError
from imagic.core.files import replacing

PSNR_INPUT = "PSNR to the input (dB)"
SUCCESS = "success"
COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """Means over the items of a method at one eta. scores: what the method measured; success: as judged, None if no
    item could be."""

    eta: float
    items: int
    scores: dict[str, float]
    psnr_input: float
    success: float | None


def eta_curve(rows: Sequence[Row], label: str) -> list[Point]:
    """The curve of one method, by rising eta. Raises OutputError when its rows have no sweep or no eta in common."""
    mine = [row for row in rows if row["label"] == label and not row["error"]]
    # Of two looks at one eta the first counts: it was made like its neighbours.
    sweeps = [{each["eta"]: each for each in reversed(row["sweep"])} for row in mine]
    shared = sorted(set.intersection(*(set(sweep) for sweep in sweeps))) if sweeps else []
    if not shared:
        raise OutputError(f"The rows of '{label}' have no eta in common: run it with an eta sweep.")
    return [_point(eta, [sweep[eta] for sweep in sweeps]) for eta in shared]


def _point(eta: float, looks: Sequence[Row]) -> Point:
    names = set.intersection(*(set(look["scores"]) for look in looks))
    judged = [look["success"] for look in looks if look["success"] is not None]
    return Point(
        eta=eta,
        items=len(looks),
        scores={name: statistics.fmean(float(look["scores"][name]) for look in looks) for name in sorted(names)},
        psnr_input=statistics.fmean(float(look["psnr_input"]) for look in looks),
        success=statistics.fmean(judged) if judged else None,
    )


def plot(rows: Sequence[Row], labels: Sequence[str], path: Path) -> None:
    """A PNG at `path` with one panel per measured score, PSNR to the input and success, and a line per method.

    Methods without any sweep (baselines) are left out. Raises NotAvailable without matplotlib, OutputError when no
    method has a sweep or the items of one have no eta in common.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NotAvailable("Plots need matplotlib: pip install 'imagic[report]'.") from error
    swept = {row["label"] for row in rows if not row["error"] and row["sweep"]}
    curves = {label: eta_curve(rows, label) for label in labels if label in swept}
    if not curves:
        raise OutputError("No method of this run has a sweep over eta: there is nothing to plot.")
    panels = panels_of(curves)
    columns = min(COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4 * columns, 3 * lines + 0.5), layout="constrained")
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, columns, place)
        for label, curve in curves.items():
            points = [(point.eta, value) for point in curve if (value := value_of(point, panel)) is not None]
            axes.plot([eta for eta, _ in points], [value for _, value in points], marker="o", markersize=3, label=label)
        axes.set_xlabel("eta")
        axes.set_title(panel)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    with replacing(path, overwrite=True) as part:
        figure.savefig(part, format="png", dpi=120)


def panels_of(curves: Mapping[str, Sequence[Point]]) -> list[str]:
    """What can be shown against eta: every score that a method measured, PSNR to the input, success where judged."""
    points = [point for curve in curves.values() for point in curve]
    measured = sorted({name for point in points for name in point.scores})
    judged = [SUCCESS] if any(point.success is not None for point in points) else []
    return [*measured, PSNR_INPUT, *judged]


def value_of(point: Point, panel: str) -> float | None:
    """What a point has for one of `panels_of`."""
    if panel == SUCCESS:
        return point.success
    return point.psnr_input if panel == PSNR_INPUT else point.scores.get(panel)
