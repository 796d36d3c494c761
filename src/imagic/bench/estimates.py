"""A mean over items with its 95 % interval: Wilson's for a share, the bootstrap's for anything else.

The bootstrap of a share that is 0 or 1 has no width, which Wilson's interval does not pretend.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from imagic.bench.bootstrap import bootstrap
from imagic.bench.wilson import wilson


@dataclass(frozen=True)
class Estimate:
    """interval: lower and upper bound, None for a mean of one value. items: how many values were averaged."""

    value: float
    interval: tuple[float, float] | None
    items: int

    def show(self, digits: int) -> str:
        if self.interval is None:
            return f"{self.value:.{digits}f}"
        low, high = self.interval
        return f"{self.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def estimate(values: Sequence[float | bool | None]) -> Estimate | None:
    """Of one value per item; None values are left out, and None is returned when no other is there."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if all(isinstance(value, bool) for value in known):
        return Estimate(sum(known) / len(known), wilson(int(sum(known)), len(known)), len(known))
    return Estimate(statistics.fmean(known), bootstrap(known), len(known))
