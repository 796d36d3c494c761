import pytest
from scipy.stats import binomtest

from imagic.bench.wilson import wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 20), (17, 20), (20, 20), (102, 120), (6, 9213)])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_interval_is_scipys(successes, trials, confidence):
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson(successes, trials, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_trials_nothing_is_known():
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(("successes", "trials"), [(2, 1), (-1, 3)])
def test_impossible_counts_are_bugs(successes, trials):
    with pytest.raises(ValueError, match="successes of"):
        wilson(successes, trials)
