"""The values that options of the command line take, such as strengths and crops. A wrong one is a usage error."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import typer

MOST_STRENGTHS = 101  # a sweep in steps of 0.01
MOST_SEEDS = 1000


def parse_strength(text: str) -> Literal["auto"] | float | tuple[float, ...]:
    """The word auto, a number, or start:stop:step with both ends included ("0:1:0.1" is eleven values)."""
    if text == "auto":
        return "auto"
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if not all(math.isfinite(number) for number in numbers) or len(numbers) not in (1, 3):
        raise typer.BadParameter(
            f"--strength (or --eta) takes auto, a number such as 0.7, or a range such as 0:1:0.1, not '{text}'."
        )
    if len(numbers) == 1:
        return numbers[0]
    start, stop, step = numbers
    if step <= 0 or stop < start or (stop - start) / step > MOST_STRENGTHS - 1 + 1e-6:
        raise typer.BadParameter(
            f"--strength (or --eta) {text} must run upwards in steps above 0 and have at most {MOST_STRENGTHS} values."
        )
    # Rounded twice so that 0:1:0.1 has 0.3 in it, not 0.30000000000000004, and so that the last value is not lost.
    return tuple(round(start + index * step, 9) for index in range(math.floor((stop - start) / step + 1e-6) + 1))


def parse_names(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_crop(text: str | None) -> tuple[int, int, int, int] | None:
    """x,y,w,h in pixels of the upright input."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--crop takes x,y,w,h in pixels, such as 0,0,640,480, not '{text}'.") from None
    return x, y, width, height


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """name=value pairs; a value that reads as JSON (0.5, true, null, [1, 2]) is that, any other is text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--set takes name=value, such as text_steps=100, not '{pair}'.")
        try:
            settings[name] = json.loads(text)
        except (ValueError, RecursionError):
            settings[name] = text
    return settings
