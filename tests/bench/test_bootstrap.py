import math

import numpy as np
import pytest
from scipy import stats

from imagic.bench.bootstrap import RESAMPLES, bootstrap, bootstrap_p_value

VALUES = np.random.default_rng(5).gamma(2.0, 3.0, 60).tolist()


@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_interval_is_scipys_percentile_bootstrap(confidence):
    low, high = bootstrap(VALUES, confidence)
    expected = stats.bootstrap(
        (VALUES,), np.mean, confidence_level=confidence, method="percentile", n_resamples=20_000, rng=1
    )
    spread = np.std(VALUES) / math.sqrt(len(VALUES))
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.12 * spread)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.12 * spread)


def test_of_two_items_the_ends_are_the_items():
    """The mean of two draws is the lower item with probability 1/4, their mean with 1/2, the higher one with 1/4."""
    assert bootstrap([3.0, 7.0]) == (3.0, 7.0)
    assert bootstrap([3.0, 7.0], confidence=0.4) == (5.0, 5.0)


def test_equal_values_have_no_width_and_one_value_has_no_interval():
    assert bootstrap([2.5] * 9) == (2.5, 2.5)
    assert bootstrap([2.5]) is None
    assert bootstrap([]) is None


def test_an_infinite_value_widens_the_side_it_lies_on():
    low, high = bootstrap([1.0] * 19 + [math.inf])
    assert (low, high) == (1.0, math.inf)  # no draw holds it with probability (19/20)^20 = 0.36
    with pytest.raises(ValueError, match="not-a-number"):
        bootstrap([1.0, math.nan])


def test_the_same_values_give_the_same_interval():
    assert bootstrap(VALUES) == bootstrap(list(VALUES))


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5, -0.5])
def test_the_p_value_is_near_the_normal_one_for_a_mean_of_many(shift):
    values = np.random.default_rng(2).normal(0, 1, 400)
    values = values - values.mean() + shift * 0.2
    error = values.std() / math.sqrt(len(values))
    expected = 2 * stats.norm.sf(abs(values.mean()) / error)
    assert bootstrap_p_value(values.tolist()) == pytest.approx(expected, abs=0.05)


def test_the_p_value_of_no_difference_is_1_and_is_never_0():
    assert bootstrap_p_value([0.0] * 5) == 1.0
    assert bootstrap_p_value([1.0] * 5) == 2 / (RESAMPLES + 1)
    assert bootstrap_p_value([-1.0] * 5) == 2 / (RESAMPLES + 1)
    assert bootstrap_p_value([1.0]) is None
