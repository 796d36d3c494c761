"""The percentile bootstrap (Efron and Tibshirani, 1993): how far a mean over items could be off.

Items are drawn again with replacement, as often as there are, and the mean is taken anew. The draws come from one fixed
seed, so that a report of the same rows is the same report.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


def bootstrap(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Lower and upper bound of the mean of `values`, one per item; None for fewer than two, which tell nothing.

    Infinite values (the PSNR of equal images) give infinite bounds where they belong. Raises ValueError for what is not
    a number.
    """
    if len(values) < 2:
        return None
    tail = (1 - confidence) / 2
    # Means that were drawn, never one between two of them: between a number and infinity there is none.
    low, high = np.quantile(_means(values), (tail, 1 - tail), method="inverted_cdf")
    return float(low), float(high)


def bootstrap_p_value(differences: Sequence[float]) -> float | None:
    """Two-sided: twice the share of means on the rarer side of 0, at least 2 / (RESAMPLES + 1), at most 1.

    differences: finite, one per item. None for fewer than two.
    """
    if len(differences) < 2:
        return None
    means = _means(differences)
    rarer = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (RESAMPLES + 1))


def _means(values: Sequence[float]) -> NDArray[np.float64]:
    """The mean of each resample, (RESAMPLES,)."""
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array).any():
        raise ValueError("not-a-number has no mean")
    means: NDArray[np.float64] = array[_draws(len(array))].mean(axis=1)
    return means


@functools.lru_cache(maxsize=8)
def _draws(count: int) -> NDArray[Any]:
    """Which items each resample holds, (RESAMPLES, count)."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count), dtype=np.int32)
