"""Unknown words and cut texts."""

from __future__ import annotations

import pytest

from imagic.backbones.words import report_text
from tests.conftest import TEXT_LENGTH, WORDS, build_tokenizer


@pytest.mark.parametrize("word", WORDS)
def test_each_known_word_is_one_token(word: str) -> None:
    assert build_tokenizer().tokenize(word) == [f"{word}</w>"]


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a photo of a sitting dog", ()),
        ("A  Photo of a SITTING dog.", ()),
        ("a zebra, sitting; a Zebra!! on the grass", ("zebra",)),
        ("a blue dog on the moon", ("blue", "moon")),
        ("犬 on the grass", ("犬",)),
        ("", ()),
        ("...", ()),
    ],
)
def test_unknown_words_of_a_word_level_vocabulary(text: str, unknown: tuple[str, ...]) -> None:
    assert report_text(build_tokenizer(word_level=True), text, 77).unknown_words == unknown


def test_an_ordinary_vocabulary_knows_every_word() -> None:
    assert report_text(build_tokenizer(), "a zebra", 77).unknown_words == ()


def test_the_part_past_the_limit_is_quoted() -> None:
    tokenizer = build_tokenizer()
    fits = " ".join(["a dog"] * 5)  # 10 words and two marks
    assert report_text(tokenizer, fits, TEXT_LENGTH).cut == ""
    assert report_text(tokenizer, fits + " on  the Grass", TEXT_LENGTH).cut == "on  the Grass"
    ids = tokenizer(fits + " on the grass", truncation=True, max_length=TEXT_LENGTH).input_ids
    assert ids == tokenizer(fits).input_ids
