import math
import random

import numpy as np
import pytest
from scipy.optimize import minimize

from imagic.bench.study.bradley_terry import bradley_terry, elo_ratings


@pytest.mark.parametrize(("first", "second"), [(3, 1), (1, 1), (2, 97)])
def test_of_two_players_the_strengths_are_as_their_wins(first, second):
    found = bradley_terry({("a", "b"): first, ("b", "a"): second})
    assert found["a"] / found["b"] == pytest.approx(first / second, rel=1e-9)
    assert found["a"] * found["b"] == pytest.approx(1)


def test_games_that_went_as_the_strengths_say_give_the_strengths():
    # By hand: with strengths 4, 2 and 1 of 15 games each 10, 12 and 10 are expected.
    wins = {("a", "b"): 10, ("b", "a"): 5, ("a", "c"): 12, ("c", "a"): 3, ("b", "c"): 10, ("c", "b"): 5}
    found = bradley_terry(wins)
    assert [found[player] for player in "abc"] == pytest.approx([2, 1, 0.5], rel=1e-9)


def test_the_likelihood_has_its_maximum_there():
    rng = random.Random(0)
    players = "abcde"
    wins = {(a, b): rng.randint(1, 9) for a in players for b in players if a != b and (a, b) != ("a", "e")}

    def loss(logs):
        place = {player: logs[index] for index, player in enumerate(players)}
        likelihood = sum(n * math.log(1 / (1 + math.exp(place[b] - place[a]))) for (a, b), n in wins.items())
        return -likelihood + sum(logs) ** 2  # the scale is free

    expected = np.exp(minimize(loss, np.zeros(5), tol=1e-10).x)
    found = bradley_terry(wins)
    assert [found[player] for player in players] == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize(
    "wins",
    [
        {("a", "b"): 3},
        {("a", "b"): 3, ("b", "c"): 1, ("c", "b"): 1},
        {("a", "b"): 1, ("b", "a"): 1, ("c", "d"): 1, ("d", "c"): 1},
    ],
)
def test_strengths_that_are_not_determined_are_not_given(wins):
    with pytest.raises(ValueError, match="not determined"):
        bradley_terry(wins)


def test_a_ring_of_wins_makes_all_equal():
    found = bradley_terry({("a", "b"): 1, ("b", "c"): 1, ("c", "d"): 1, ("d", "a"): 1})
    assert list(found.values()) == pytest.approx([1, 1, 1, 1])


def test_elo_of_two_has_half_a_win_more_on_either_side():
    found = elo_ratings({("a", "b"): 9})
    assert found is not None
    assert found["a"] - found["b"] == pytest.approx(400 * math.log10(9.5 / 0.5))
    assert found["a"] + found["b"] == pytest.approx(3000)
    # Ten to one are 400 points.
    found = elo_ratings({("a", "b"): 99.5, ("b", "a"): 9.5})
    assert found is not None
    assert found["a"] - found["b"] == pytest.approx(400)


def test_without_connecting_games_there_are_no_ratings():
    assert elo_ratings({("a", "b"): 1, ("c", "d"): 2}) is None
    assert elo_ratings({}) is None
