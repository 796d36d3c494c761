"""Automatic eta: the knee between agreement with the text and closeness to the input, measured on this very image.

The paper sets eta by hand and warns that absolute scores cannot pick it for one image; so the agreement is put on the
scale of the image's own ends: along eta it runs from 0 (at eta 0, or MAX_RISE below the other end) to 1 (at eta 1). It
jumps where the eye sees the edit and then creeps on while place and colours drift, and what drift costs is the same in
any image: the distance to the input, in units of its own spread. The edit is where agreement less distance is highest,
with a lean towards the strengths that the paper found right most often: where the sweep hardly tells, these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# The middle of the range that the paper found right most often (0.6 to 0.8); taken where the sweep tells nothing.
USUAL_ETA = 0.7
# What the squared distance from it costs: 0.02 at either end of that range.
LEAN = 2.0
# Agreement is 1000 x a squared error whose scale is 1; a rise below this is noise.
MIN_RISE = 0.2
# What lies further below the far end is as far from the text as can be: a change of style begins hundreds below, and
# its last part, where the style comes, would count for nothing.
MAX_RISE = 100.0
# A rendering that has covered less of the way to the text is not yet the edit, however close it stays.
MIN_AGREEMENT = 0.5


@dataclass(frozen=True)
class Choice:
    """eta: the strength taken, one of those given unless `knee` is absent. knee: its position. utility: one value per
    strength (higher is better, empty without a knee). warnings: plain sentences."""

    eta: float
    knee: int | None
    utility: Sequence[float]
    warnings: Sequence[str] = ()


def choose_eta(
    etas: Sequence[float], agreement: Sequence[float], distance: Sequence[float], closeness_weight: float
) -> Choice:
    """The strength with the highest A - w D - LEAN (eta - USUAL_ETA)^2 among those half way to the text or further.

    etas: ascending, from 0 to 1. agreement: higher fits the text better, on any scale; distance: from the input, in
    units of its own spread; both per strength, measured with common noise. When eta 1 agrees no better than eta 0, the
    best of the sweep stands in for it; when nothing does, the choice is USUAL_ETA with a warning.
    """
    top = _top(agreement)
    if top is None:
        return Choice(
            USUAL_ETA,
            None,
            (),
            (
                "The agreement with the text does not rise with eta, so eta could not be chosen from it and "
                f"{USUAL_ETA} is used: set eta yourself, or word the text differently.",
            ),
        )
    start = max(agreement[0], top - MAX_RISE)
    fits = [(value - start) / (top - start) for value in agreement]
    utility = [
        fit - closeness_weight * far - LEAN * (eta - USUAL_ETA) ** 2
        for eta, fit, far in zip(etas, fits, distance, strict=True)
    ]
    # At equal utility the smaller eta, which keeps more of the input.
    knee = max((i for i, fit in enumerate(fits) if fit >= MIN_AGREEMENT), key=lambda i: (utility[i], -i))
    return Choice(etas[knee], knee, utility)


def neighbours(etas: Sequence[float], knee: int, count: int) -> list[float]:
    """`count` new strengths, evenly spread over the gaps to the left and to the right of the knee."""
    gaps = [(low, high) for low, high in pairwise(etas) if etas[knee] in (low, high)]
    shares = [count - count // 2, count // 2] if len(gaps) == 2 else [count]
    return [
        low + (high - low) * (i + 1) / (share + 1)
        for (low, high), share in zip(gaps, shares, strict=True)
        for i in range(share)
    ]


def _top(agreement: Sequence[float]) -> float | None:
    """The last value, or the highest where the last does not lie above the first; None if neither does by MIN_RISE."""
    return next((top for top in (agreement[-1], max(agreement)) if top - agreement[0] >= MIN_RISE), None)
