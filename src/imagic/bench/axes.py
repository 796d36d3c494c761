"""What a figure or a test can look at: one number or verdict per row, its unit, and which way is better.

Metrics sort themselves: one with a `reference` compares the result with a picture and is a distance (or closeness);
one without reads the text, and is an agreement (an alignment).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from imagic.bench.lines import measures_of, score_of
from imagic.bench.rows import Row
from imagic.core import registry
from imagic.core.errors import ImagicError, OptionError
from imagic.core.registry import Group
from imagic.metrics.region import Reference, Region


@dataclass(frozen=True)
class Axis:
    """value: of a row, None where there is none. unit: empty for a pure number."""

    name: str
    title: str
    unit: str
    higher_is_better: bool
    value: Callable[[Row], float | bool | None]

    @property
    def label(self) -> str:
        better = f"{'higher' if self.higher_is_better else 'lower'} is better"
        return f"{self.title} ({', '.join(part for part in (self.unit, better) if part)})"


def _verdict(part: str) -> Callable[[Row], bool | None]:
    """An error is no success, as in the table."""
    return lambda row: False if row["error"] else row[part]


def _score(name: str) -> Callable[[Row], float | None]:
    return lambda row: score_of(row, name)


SUCCESS = Axis("success", "success", "share of items", True, _verdict("success"))
ASKED = Axis("asked", "asked", "share of items", True, _verdict("asked"))
PSNR_TRUTH = Axis("psnr_truth", "PSNR to the true edit", "dB", True, _score("psnr_truth"))
SSIM_TRUTH = Axis("ssim_truth", "SSIM to the true edit", "", True, _score("ssim_truth"))
PSNR_INPUT = Axis("psnr_input", "PSNR to the input", "dB", True, _score("psnr_input"))
PSNR_KEPT = Axis("psnr_kept", "PSNR to the input outside the mask", "dB", True, _score("psnr_kept"))
SSIM_KEPT = Axis("ssim_kept", "SSIM to the input outside the mask", "", True, _score("ssim_kept"))


def alignments(rows: Sequence[Row]) -> list[Axis]:
    """How well results do what the text says: the judge's reading, and the metrics of the run that read the text."""
    return _with_values(rows, [ASKED, *(axis for axis, reference, _ in _measured(rows) if reference is None)])


def distances(rows: Sequence[Row]) -> list[Axis]:
    """How far results are from the input: the metrics of the run that compare with it, then the runner's own."""
    own = [
        axis
        for axis, reference, region in _measured(rows)
        if reference is Reference.INPUT and region is not Region.EDITED
    ]
    return _with_values(rows, [*own, PSNR_INPUT, PSNR_KEPT, SSIM_KEPT])


def qualities(rows: Sequence[Row]) -> list[Axis]:
    """What a method can be ranked by, the best first: success, closeness to the truth, alignment."""
    return [*_with_values(rows, [SUCCESS, PSNR_TRUTH]), *alignments(rows)]


def comparable(rows: Sequence[Row]) -> list[Axis]:
    """The numbers in which two methods are compared item by item."""
    return _with_values(
        rows, [PSNR_TRUTH, SSIM_TRUTH, PSNR_INPUT, PSNR_KEPT, SSIM_KEPT, *(axis for axis, _, _ in _measured(rows))]
    )


def pick(axes: Sequence[Axis], name: str) -> Axis:
    """The axis of that name. Raises OptionError, with those that there are."""
    for axis in axes:
        if axis.name == name:
            return axis
    known = ", ".join(axis.name for axis in axes) or "none"
    raise OptionError(f"This run has no values of '{name}' to draw: choose among {known}.")


def _with_values(rows: Sequence[Row], axes: Sequence[Axis]) -> list[Axis]:
    good = [row for row in rows if not row["error"]]
    return [axis for axis in axes if any(axis.value(row) is not None for row in good)]


def _measured(rows: Sequence[Row]) -> list[tuple[Axis, Reference | None, Region]]:
    """The metrics that the run was asked for, with what they look at. One that is not installed here is left out."""
    found = []
    for label in measures_of(rows):
        name, *looks = label.split(":")
        try:
            metric: Any = registry.find(Group.METRICS, name)
        except ImagicError:
            continue
        compares = dataclasses.is_dataclass(metric) and "reference" in {f.name for f in dataclasses.fields(metric)}
        reference = (Reference.TRUTH if Reference.TRUTH in looks else Reference.INPUT) if compares else None
        region = next((Region(look) for look in looks if look in set(Region)), Region.ALL)
        axis = Axis(label, label, metric.unit, metric.higher_is_better, _score(label))
        found.append((axis, reference, region))
    return found
