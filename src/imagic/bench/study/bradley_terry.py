"""The Bradley-Terry model (Biometrika 1952): a strength per player, so that a beats b with p_a / (p_a + p_b).

Its maximum likelihood by the MM algorithm of Hunter (Annals of Statistics 2004, section 3): p_a becomes the number of
a's wins divided by the sum over its games of 1 / (p_a + p_b), again and again. On the scale of Elo's chess ratings 400
points are odds of ten to one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

MEAN_RATING = 1500.0
MOST_ROUNDS = 100_000
EXACT = 1e-12  # relative change of any strength in a round

Wins = Mapping[tuple[str, str], float]


def bradley_terry(wins: Wins) -> dict[str, float]:
    """Strengths whose geometric mean is 1. wins: of the first over the second.

    Raises ValueError where no strengths are the likeliest: when the players fall into two sets of which one never beat
    the other.
    """
    players = sorted({player for pair in wins for player in pair})
    place = {player: index for index, player in enumerate(players)}
    won = np.zeros((len(players), len(players)))
    for (winner, loser), times in wins.items():
        won[place[winner], place[loser]] += times
    if not _strongly_connected(won):
        raise ValueError("the strengths are not determined: some players never beat the others")
    games, strength = won + won.T, np.ones(len(players))
    for _ in range(MOST_ROUNDS):
        new = won.sum(axis=1) / (games / (strength[:, None] + strength)).sum(axis=1)
        new /= math.exp(np.log(new).mean())
        change = np.abs(new / strength - 1).max()
        strength = new
        if change < EXACT:
            break
    return dict(zip(players, strength.tolist(), strict=True))


def elo_ratings(wins: Wins) -> dict[str, float] | None:
    """Ratings with the mean 1500; None where not all players are connected by games.

    To each pair that met half a win is added on either side, so that the rating of one who won all games stays finite.
    """
    met = {frozenset(pair) for pair, times in wins.items() if times}
    smoothed = {pair: times for pair, times in wins.items() if times}
    for first, second in map(sorted, met):
        for pair in ((first, second), (second, first)):
            smoothed[pair] = smoothed.get(pair, 0.0) + 0.5
    if not smoothed:
        return None
    try:
        strengths = bradley_terry(smoothed)
    except ValueError:
        return None
    return {player: MEAN_RATING + 400 * math.log10(strength) for player, strength in strengths.items()}


def _strongly_connected(won: np.ndarray) -> bool:
    """Whether each player beat each other one, directly or through others."""
    reached = (won > 0) | np.eye(len(won), dtype=bool)
    for _ in range(len(won).bit_length()):
        reached = reached.astype(int) @ reached.astype(int) > 0
    return bool(reached.all())
