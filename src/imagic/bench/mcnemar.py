"""McNemar's test (Psychometrika 1947) in its exact form: do two methods succeed on the same items equally often?

Only the items on which they differ tell. If neither is better, each of these is a fair coin.
"""

from __future__ import annotations

import math


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value; 1 when no item differs.

    only_first, only_second: items on which only the first, and only the second, succeeds.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"counts of items below 0: {only_first}, {only_second}")
    differing = only_first + only_second
    tail = sum(math.comb(differing, successes) for successes in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << differing))
