import pytest
from scipy.stats import binomtest

from imagic.bench.mcnemar import mcnemar


@pytest.mark.parametrize(("won", "lost"), [(1, 0), (5, 5), (9, 2), (2, 9), (0, 12), (60, 41), (1500, 1300)])
def test_it_is_the_binomial_test_of_the_items_that_differ(won, lost):
    assert mcnemar(won, lost) == pytest.approx(binomtest(won, won + lost).pvalue, rel=1e-9)


def test_no_difference_is_no_evidence():
    assert mcnemar(0, 0) == 1


def test_counts_below_0_are_bugs():
    with pytest.raises(ValueError, match="below 0"):
        mcnemar(-1, 3)
