"""Options by name: what JSON can hold and no option can take is refused in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from imagic.core.errors import OptionError
from imagic.core.options import build_options, option


@dataclass(frozen=True)
class Some:
    scale: float = option(1.0, "Without bounds.")
    shift: float | None = option(None, "With one.", minimum=0.0)
    parts: tuple[str, ...] = option((), "Texts.")


@pytest.mark.parametrize("name", ["scale", "shift"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400])
def test_numbers_that_no_float_holds_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=name):
        build_options(Some, {name: value})


@pytest.mark.parametrize("value", [[1], ["a", None], [["a"]]])
def test_a_list_of_texts_holds_texts_alone(value: Any) -> None:
    with pytest.raises(OptionError, match="list of texts"):
        build_options(Some, {"parts": value})


def test_what_fits_is_taken() -> None:
    assert build_options(Some, {"scale": 2, "shift": None, "parts": ["a", "b"]}) == Some(2.0, None, ("a", "b"))
