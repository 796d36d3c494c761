"""A sentence that quotes hostile text is safe to show."""

from __future__ import annotations

import pytest

from imagic.core.errors import LONGEST, plain


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("The text is empty.", "The text is empty."),
        ("Der Hund sitzt auf der Straße, 狗坐着, كلب", "Der Hund sitzt auf der Straße, 狗坐着, كلب"),
        ("👨\u200d👩 dog", "👨\u200d👩 dog"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred\x07\x9b", "\\x1b[31mred\\x07\\x9b"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\udcff\u2028", "\\udcff\\u2028"),
    ],
)
def test_control_characters_are_escaped_and_writing_is_not(given: str, shown: str) -> None:
    assert plain(given) == shown


def test_the_middle_of_a_long_sentence_is_left_out() -> None:
    assert plain("x" * LONGEST) == "x" * LONGEST
    shown = plain("Begin " + "x" * 100_000 + " end.")
    assert len(shown) < LONGEST
    assert shown.startswith("Begin x")
    assert shown.endswith("x end.")
