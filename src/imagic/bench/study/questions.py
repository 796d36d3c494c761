"""What one rater is asked: the pairs in random order and on random sides, some of them twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

REPEATED = 10  # one pair in so many is asked again, and one at least


@dataclass(frozen=True)
class Pair:
    """Two results of one item: the names of their arms (bench.arms)."""

    item: str
    first: str
    second: str


@dataclass(frozen=True)
class Question:
    """left, right: arms. repeats: the number of the question that this one asks again, with the sides swapped."""

    number: int
    item: str
    left: str
    right: str
    repeats: int | None = None


def draw_questions(pairs: Sequence[Pair], rng: random.Random, count: int | None = None) -> list[Question]:
    """Numbered from 1, of `count` pairs, or all. A repetition comes at least a quarter of the questions later."""
    chosen = rng.sample(pairs, min(len(pairs), count or len(pairs)))
    sides = [(pair.item, *rng.sample((pair.first, pair.second), 2)) for pair in chosen]
    again = rng.sample(range((len(sides) + 1) // 2), max(1, len(sides) // REPEATED)) if len(sides) > 1 else []
    # A place in the order for each question, and for a repetition one between those of later questions.
    places = [(float(index), index, False) for index in range(len(sides))]
    places += [(rng.uniform(index + len(sides) / 4, len(sides)), index, True) for index in again]
    numbers: dict[int, int] = {}
    questions = []
    for number, (_, index, repeated) in enumerate(sorted(places), start=1):
        item, left, right = sides[index]
        if repeated:
            questions.append(Question(number, item, right, left, numbers[index]))
        else:
            numbers[index] = number
            questions.append(Question(number, item, left, right))
    return questions
