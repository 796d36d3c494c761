"""Alignments worked out by hand, and the longest common subsequence against every possible one."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagic.core.errors import OptionError
from imagic.core.types import Token
from imagic.core.wording import Wording
from imagic.methods._token_alignment import Alignment, align, common_subsequence

LENGTH = 8


def wording(written: str, length: int = LENGTH) -> Wording:
    """Words by blanks; a word with dashes between its parts has one token for each part (the text has no dashes)."""
    tokens, text = [Token("<start>", 0, 0)], ""
    for word in written.split():
        text += " " if text else ""
        for part in word.split("-"):
            tokens.append(Token(part.lower(), len(text), len(text) + len(part)))
            text += part
    tokens = [*tokens[: length - 1], Token("<end>", 0, 0)]
    return Wording(text, tokens + [Token("<end>", 0, 0)] * (length - len(tokens)))


def places(alignment: Alignment) -> list[dict[int, float]]:
    """For each target position: source position -> weight; empty where it keeps its own attention."""
    return [
        {int(i): float(column[i]) for i in column.nonzero()} if shared else {}
        for column, shared in zip(alignment.matrix.T, alignment.shared, strict=True)
    ]


def one_to_one(*positions: int | None) -> list[dict[int, float]]:
    return [{} if position is None else {position: 1.0} for position in positions]


@pytest.mark.parametrize("kind", ["auto", "replace", "refine"])
@pytest.mark.parametrize("text", ["a dog on a dog", "a zo-o", "", "a b c d e f g h i j"])
def test_equal_texts_are_the_identity(kind: str, text: str) -> None:
    alignment = align(wording(text), wording(text), kind)
    assert torch.equal(alignment.matrix, torch.eye(LENGTH))
    assert torch.equal(alignment.shared, torch.ones(LENGTH))


def test_a_word_is_swapped_for_another() -> None:
    source, target = wording("a standing dog"), wording("a sitting dog")
    assert places(align(source, target, "replace")) == one_to_one(*range(LENGTH))
    assert places(align(source, target, "auto")) == one_to_one(*range(LENGTH))
    assert places(align(source, target, "refine")) == one_to_one(0, 1, None, 3, 4, 5, 6, 7)


def test_a_word_of_more_tokens_shares_the_attention_of_the_one_that_it_replaces() -> None:
    expected = [{0: 1.0}, {1: 1.0}, {2: 0.5}, {2: 0.5}, {3: 1.0}, {4: 1.0}, {5: 1.0}, {6: 1.0}]
    assert places(align(wording("a cat sits"), wording("a zeb-ra sits"), "replace")) == expected


def test_a_word_of_fewer_tokens_gathers_the_attention_of_those_that_it_replaces() -> None:
    expected = [{0: 1.0}, {1: 1.0}, {2: 1.0, 3: 1.0}, {4: 1.0}, {5: 1.0}, {6: 1.0}, {7: 1.0}, {7: 1.0}]
    assert places(align(wording("a zeb-ra sits"), wording("a cat sits"), "replace")) == expected


def test_added_words_keep_their_own_attention() -> None:
    source, target = wording("a dog"), wording("a red dog there")
    for kind in ("refine", "auto"):
        assert places(align(source, target, kind)) == one_to_one(0, 1, None, 2, None, 3, 4, 5)


def test_left_out_words_leave_the_rest_in_place() -> None:
    source, target = wording("a red dog there"), wording("a dog")
    assert places(align(source, target, "refine")) == one_to_one(0, 1, 3, 5, 6, 7, 7, 7)


def test_a_word_that_the_model_cuts_off_has_no_share() -> None:
    source, target = wording("a b c d e f g h"), wording("a b c d e-e f g h")
    assert source.words()[5:] == [[6], [], []]
    assert target.words()[4:] == [[5, 6], [], [], []]
    assert places(align(source, target, "replace")) == [
        *one_to_one(0, 1, 2, 3, 4), {5: 0.5}, {5: 0.5}, {7: 1.0}
    ]  # fmt: skip
    # A word without a place in the source keeps its own attention.
    assert places(align(target, source, "replace")) == [
        *one_to_one(0, 1, 2, 3, 4), {5: 1.0, 6: 1.0}, {}, {7: 1.0}
    ]  # fmt: skip


def test_swapping_needs_equally_many_words() -> None:
    with pytest.raises(OptionError, match=r"2 and 3 words.*refine"):
        align(wording("a dog"), wording("a red dog"), "replace")


def test_words_and_phrases_are_found_whole_and_wherever_they_stand() -> None:
    text = wording("A Dog, dog-s dog red dog", length=12)
    assert text.text == "A Dog, dogs dog red dog"
    assert text.find("dog") == [2, 5, 7]
    assert text.find("DOGS") == [3, 4]
    assert text.find(" red dog ") == [6, 7]
    assert text.find("do") == text.find("cat") == []
    assert text.words() == [[1], [2], [3, 4], [5], [6], [7]]


def brute_force(source: str, target: str) -> int:
    """The length of the longest common subsequence, by trying them all."""
    for size in range(min(len(source), len(target)), 0, -1):
        if set(combinations(source, size)) & set(combinations(target, size)):
            return size
    return 0


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_the_common_subsequence_is_a_longest(source: str, target: str) -> None:
    pairs = common_subsequence(source, target)
    assert len(pairs) == brute_force(source, target)
    assert all(source[i] == target[j] for i, j in pairs)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_it_is_the_best_needleman_wunsch_alignment(source: str, target: str) -> None:
    """The textbook's table with the scores of Prompt-to-Prompt's code: match 1, mismatch -1, gap 0."""
    table = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, one in enumerate(source, 1):
        for j, other in enumerate(target, 1):
            met = table[i - 1][j - 1] + (1 if one == other else -1)
            table[i][j] = max(met, table[i - 1][j], table[i][j - 1])
    assert len(common_subsequence(source, target)) == table[-1][-1]
