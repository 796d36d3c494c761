import pytest
from scipy.stats import binomtest

from imagic.bench.bootstrap import bootstrap
from imagic.bench.estimates import Estimate, estimate


def test_a_share_has_wilsons_interval_and_a_mean_the_bootstraps():
    share = estimate([True, False, None, True])
    wilson = binomtest(2, 3).proportion_ci(method="wilson")
    assert (share.value, share.items) == (pytest.approx(2 / 3), 3)
    assert share.interval == pytest.approx((wilson.low, wilson.high))
    mean = estimate([1.0, None, 3.0, 8.0])
    assert mean == Estimate(4.0, bootstrap([1.0, 3.0, 8.0]), 3)


def test_one_value_has_no_interval_and_no_value_no_mean():
    assert estimate([None, 2.0]) == Estimate(2.0, None, 1)
    assert estimate([None]) is None
