"""The kinds of figure of a report: points that curves join, with the intervals of their means, and bars per group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagic.bench.estimates import Estimate
from imagic.bench.svg import INK, drawing, inline, style_of

BAR_INCHES = 0.17
# Among more curves than this, the intervals are drawn faintly.
FEW = 4


@dataclass(frozen=True)
class Mark:
    """A point of a curve. x: a mean, or a plain number. note: such as a strength, written beside the first and the last
    of a curve."""

    x: Estimate | float
    y: Estimate | float
    note: str = ""


def curves(
    name: str,
    series: Mapping[str, Sequence[Mark]],
    x_label: str,
    y_label: str,
    labels: Sequence[str],
    *,
    log: bool = False,
    falling: bool = False,
) -> str:
    """The SVG of one line per entry of `series`; infinite points are left out, and so are their neighbours' lines.

    labels: every method of the run, so that each has one colour in all figures. log: a logarithmic x axis.
    falling: x runs from high to low.
    """
    with drawing(name) as (figure, axes):
        alpha = 0.5 if len(series) <= FEW else 0.2
        for label, marks in series.items():
            colour, marker, line = style_of(labels.index(label))
            xs = [_finite(mark.x) for mark in marks]
            ys = [_finite(mark.y) for mark in marks]
            axes.plot(xs, ys, color=colour, marker=marker, linestyle=line, markersize=5, linewidth=1.3, label=label)
            drawn = [each for each in zip(marks, xs, ys, strict=True) if math.isfinite(each[1] + each[2])]
            for mark, x, y in drawn:
                axes.plot(*_whisker(mark.x, x, y, along_x=True), color=colour, linewidth=0.8, alpha=alpha)
                axes.plot(*_whisker(mark.y, y, x, along_x=False), color=colour, linewidth=0.8, alpha=alpha)
            for mark, x, y in dict.fromkeys([*drawn[:1], *drawn[-1:]]):
                axes.annotate(mark.note, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
        if log:
            from matplotlib.ticker import LogFormatter, StrMethodFormatter

            axes.set_xscale("log")  # whose own labels are formulas, which `drawing` turns off
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.4)))
        if falling:
            axes.invert_xaxis()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        figure.legend(loc="outside right upper", fontsize=8)
        return inline(figure, name)


def bars(name: str, groups: Sequence[str], series: Mapping[str, Mapping[str, Estimate]], x_label: str) -> str:
    """The SVG of horizontal bars with their intervals, a cluster per group and in it a bar per method.

    series: method -> group -> mean. Groups without a value have no bar, infinite means neither.
    """
    height = 1.2 + BAR_INCHES * len(groups) * (len(series) + 1)
    with drawing(name, height=height) as (figure, axes):
        for index, (label, means) in enumerate(series.items()):
            colour = style_of(index).colour
            known = {group: mean for group, mean in means.items() if math.isfinite(mean.value)}
            places = [groups.index(group) * (len(series) + 1) + index for group in known]
            axes.barh(places, [mean.value for mean in known.values()], height=0.9, color=colour, label=label)
            for place, mean in zip(places, known.values(), strict=True):
                axes.plot(*_whisker(mean, mean.value, place, along_x=True), color=INK, linewidth=1)
        axes.set_yticks([index * (len(series) + 1) + (len(series) - 1) / 2 for index in range(len(groups))], groups)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(x_label)
        figure.legend(loc="outside right upper", fontsize=8)
        return inline(figure, name)


def _finite(value: Estimate | float) -> float:
    """The number to draw; not-a-number, which matplotlib leaves out, for an infinite one."""
    number = value.value if isinstance(value, Estimate) else value
    return number if math.isfinite(number) else math.nan


def _whisker(mean: Estimate | float, along: float, across: float, along_x: bool) -> tuple[list[float], list[float]]:
    """The xs and ys of the line of an interval; a point's own place when there is none or it has no end."""
    interval = mean.interval if isinstance(mean, Estimate) else None
    ends = list(interval) if interval and all(map(math.isfinite, interval)) else [along, along]
    return (ends, [across, across]) if along_x else ([across, across], ends)
