import itertools
import random

import pytest

from imagic.bench.study import plain, tables, tally
from imagic.bench.study.questions import Pair, Question, draw_questions
from imagic.bench.study.store import Answer
from imagic.bench.wilson import wilson
from imagic.core.errors import OptionError

numbers = itertools.count(1)


def answer(chosen, other, rater=1, repeats=None, number=None, item="i"):
    question = Question(number or next(numbers), item, chosen, other, repeats)
    return Answer(rater, f"rater {rater}", question, "left")


def test_shares_are_counted_with_wilsons_interval_the_preferred_first():
    found = tally([answer("b", "a"), answer("b", "a"), answer("a", "b"), answer("a", "c")])
    assert [(each.method, each.opponent, str(each.preferred)) for each in found.preferences] == [
        ("b", "a", "67% [21%, 94%]"),
        ("a", "c", "100% [21%, 100%]"),
    ]
    assert plain(found)["preferences"][0] == {
        "method": "b", "opponent": "a", "preferred": 2, "of": 3, "interval": wilson(2, 3),
    }  # fmt: skip


def test_the_baseline_stands_first_even_where_it_loses():
    answers = [answer("b", "a"), answer("c", "a"), answer("b", "c")]
    found = tally(answers, "a")
    assert [(each.method, each.opponent, each.preferred.successes) for each in found.preferences] == [
        ("a", "b", 0),
        ("a", "c", 0),
        ("b", "c", 1),
    ]
    with pytest.raises(OptionError, match="choose among b, a, c"):
        tally(answers, "d")


def test_repetitions_are_not_counted_twice():
    found = tally([answer("a", "b", number=900), answer("a", "b", repeats=900)])
    assert found.preferences[0].preferred.trials == 1
    assert (found.raters[0].answers, found.raters[0].repetitions, found.raters[0].agreed) == (1, 1, 1)


def test_who_contradicts_themselves_is_left_out():
    careful = [answer("a", "b", number=1), answer("a", "b", repeats=1)]
    careless = [answer("b", "a", 2, number=1), answer("a", "b", 2, repeats=1)]
    unasked = [answer("b", "a", 3)]
    found = tally([*careful, *careless, *unasked])
    assert [each.careless for each in found.raters] == [False, True, False]
    (only,) = found.preferences
    assert (only.preferred.successes, only.preferred.trials) == (1, 2)
    _, _, raters = tables(found)
    assert [line[-1] for line in raters.body] == ["counted", "left out", "counted"]


@pytest.mark.parametrize(("agreed", "careless"), [(3, False), (2, False), (1, True), (0, True)])
def test_two_thirds_of_the_repetitions_must_agree(agreed, careless):
    answers = [answer("a", "b", number=number) for number in (1, 2, 3)]
    answers += [answer("a", "b", repeats=number) if number <= agreed else answer("b", "a", repeats=number)
                for number in (1, 2, 3)]  # fmt: skip
    assert tally(answers).raters[0].careless is careless


def test_raters_who_guess_are_found_and_raters_who_look_are_not():
    """Of 60 who toss a coin and 60 who know, 120 questions each."""
    pairs = [Pair(f"i{index}", "a", "b") for index in range(110)]
    answers = []
    for rater in range(120):
        rng = random.Random(rater)
        for question in draw_questions(pairs, rng):
            guess = rng.choice(("left", "right"))
            knows = "left" if question.left == "a" else "right"
            answers.append(Answer(rater, "", question, guess if rater < 60 else knows))
    found = tally(answers)
    assert sum(each.careless for each in found.raters[:60]) > 40  # 7 of 11 or fewer: 89 %
    assert not any(each.careless for each in found.raters[60:])


def test_without_answers_the_tables_say_so():
    found = tally([])
    assert (found.preferences, found.ratings, found.raters) == ([], None, [])
    assert "Not available" in tables(found)[1].markdown()
