import random

import pytest

from imagic.bench.study.questions import Pair, Question, draw_questions

PAIRS = [Pair(f"item{index}", "a", "b") for index in range(40)]


def first_time(questions):
    return [each for each in questions if each.repeats is None]


@pytest.mark.parametrize("seed", range(5))
def test_every_pair_is_asked_once_in_random_order(seed):
    questions = draw_questions(PAIRS, random.Random(seed))
    assert [each.number for each in questions] == list(range(1, 45))
    asked = [each.item for each in first_time(questions)]
    assert sorted(asked) == sorted(pair.item for pair in PAIRS)
    assert asked != [pair.item for pair in PAIRS]
    assert all({each.left, each.right} == {"a", "b"} for each in questions)


def test_sides_are_fair_coins():
    lefts = [each.left for seed in range(50) for each in first_time(draw_questions(PAIRS, random.Random(seed)))]
    # 2000 coins: four standard deviations are 4.5 %.
    assert abs(lefts.count("a") / len(lefts) - 0.5) < 0.045


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [2, 3, 7, 25, 40])
def test_a_tenth_of_the_pairs_comes_again_later_with_the_sides_swapped(seed, count):
    questions = draw_questions(PAIRS, random.Random(seed), count)
    by_number = {each.number: each for each in questions}
    again = [each for each in questions if each.repeats is not None]
    assert len(again) == max(1, count // 10)
    assert len({each.repeats for each in again}) == len(again)
    for each in again:
        original = by_number[each.repeats]
        assert original.repeats is None
        assert (each.item, each.left, each.right) == (original.item, original.right, original.left)
        assert each.number - original.number >= count // 4


def test_so_many_pairs_are_drawn_and_no_more_than_there_are():
    assert len(first_time(draw_questions(PAIRS, random.Random(0), 12))) == 12
    assert len(first_time(draw_questions(PAIRS[:3], random.Random(0), 12))) == 3
    assert draw_questions(PAIRS[:1], random.Random(2)) in (
        [Question(1, "item0", "a", "b")],
        [Question(1, "item0", "b", "a")],
    )
    assert draw_questions(PAIRS, random.Random(3), 5) == draw_questions(PAIRS, random.Random(3), 5)
