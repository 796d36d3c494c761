"""What the answers say: who was careful, how often each method was preferred to each other, and ratings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from imagic.bench.lines import Share
from imagic.bench.study.bradley_terry import elo_ratings
from imagic.bench.study.store import Answer
from imagic.bench.tables import Table, number
from imagic.bench.wilson import wilson
from imagic.core.errors import OptionError

LEAST_AGREEMENT = 2 / 3  # by guessing one agrees with oneself on half the repetitions

NOTE = (
    "How often the method was preferred, with the 95 % Wilson interval. Each pair counts once per rater, its repetition"
    " not at all; answers on one item by several raters are taken as independent."
)
RATINGS_NOTE = (
    "Bradley-Terry strengths on Elo's scale, mean 1500: 400 points are odds of ten to one. Half a win is added on"
    " either side of each pair of methods that met."
)
RATERS_NOTE = (
    "Some pairs were asked twice with the sides swapped. Who chose the same result on less than two thirds of them is"
    " left out of the other tables."
)


@dataclass(frozen=True)
class Rater:
    """answers: without repetitions. agreed: of the repetitions, those answered as the first time."""

    name: str
    answers: int
    repetitions: int
    agreed: int

    @property
    def careless(self) -> bool:
        return self.agreed < LEAST_AGREEMENT * self.repetitions


@dataclass(frozen=True)
class Preference:
    """method, opponent: arms. preferred: how often the method was."""

    method: str
    opponent: str
    preferred: Share


@dataclass(frozen=True)
class Tally:
    """ratings: by method, the best first; None where the answers do not connect all methods."""

    raters: list[Rater]
    preferences: list[Preference]
    ratings: dict[str, float] | None


def tally(answers: Sequence[Answer], baseline: str = "") -> Tally:
    """The counts. baseline: of its pairs it stands first, of others the one that was preferred.

    Raises OptionError for a baseline of which there are no answers.
    """
    arms = dict.fromkeys(arm for each in answers for arm in (each.question.left, each.question.right))
    if baseline and answers and not any(_is(arm, baseline) for arm in arms):
        raise OptionError(f"There are no answers on '{baseline}': choose among {', '.join(arms)}.")
    raters = {number: _rater([each for each in answers if each.rater == number]) for number in _raters(answers)}
    counted = [each for each in answers if each.question.repeats is None and not raters[each.rater].careless]
    wins = Counter((each.chosen, each.other) for each in counted)
    pairs = {tuple(sorted(pair)) for pair in wins}
    preferences = [_preference(wins, first, second, baseline) for first, second in sorted(pairs)]
    ratings = elo_ratings(wins)
    if ratings is not None:
        ratings = dict(sorted(ratings.items(), key=lambda item: -item[1]))
    return Tally(list(raters.values()), preferences, ratings)


def _raters(answers: Sequence[Answer]) -> list[int]:
    return list(dict.fromkeys(each.rater for each in answers))


def _rater(answers: Sequence[Answer]) -> Rater:
    chosen = {each.question.number: each.chosen for each in answers}
    # The first time comes before the repetition, so that it has an answer.
    again = [each.chosen == chosen[each.question.repeats] for each in answers if each.question.repeats is not None]
    return Rater(answers[0].name, len(answers) - len(again), len(again), sum(again))


def _preference(wins: Counter[tuple[str, str]], first: str, second: str, baseline: str) -> Preference:
    leads = [_is(arm, baseline) for arm in (first, second)]
    if leads == [False, True] or (leads == [False, False] and wins[second, first] > wins[first, second]):
        first, second = second, first
    return Preference(first, second, Share(wins[first, second], wins[first, second] + wins[second, first]))


def _is(arm: str, method: str) -> bool:
    """Whether the arm is that, or the method at any strength."""
    return arm == method or arm.startswith(f"{method} at ")


def tables(found: Tally) -> list[Table]:
    """Preferences, ratings, raters."""
    preferences = [
        [each.method, each.opponent, f"{each.preferred.successes} of {each.preferred.trials}", str(each.preferred)]
        for each in found.preferences
    ]
    raters = [
        [
            each.name,
            str(each.answers),
            f"{each.agreed} of {each.repetitions}",
            "left out" if each.careless else "counted",
        ]
        for each in found.raters
    ]
    ratings = [[name, number(rating, 0)] for name, rating in (found.ratings or {}).items()]
    missing = "" if found.ratings else "Not available: the answers do not connect all methods yet."
    return [
        Table(["method", "opponent", "preferred", "share"], preferences, "Preferences", NOTE),
        Table(["method", "rating"], ratings, "Ratings", missing or RATINGS_NOTE),
        Table(["rater", "answers", "agreed with themselves", ""], raters, "Raters", RATERS_NOTE),
    ]


def plain(found: Tally) -> dict[str, Any]:
    """As plain JSON values."""
    return {
        "preferences": [
            {
                "method": each.method,
                "opponent": each.opponent,
                "preferred": each.preferred.successes,
                "of": each.preferred.trials,
                "interval": wilson(each.preferred.successes, each.preferred.trials),
            }
            for each in found.preferences
        ],
        "ratings": found.ratings,
        "raters": [{**asdict(each), "careless": each.careless} for each in found.raters],
    }
