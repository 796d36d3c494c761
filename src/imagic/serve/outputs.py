"""The files of a job, by what they are. A request names one of these words, never a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

INPUT, MASK, STATE, PREVIEW = "input.png", "mask.png", "state.safetensors", "preview.png"
SHEET, ANIMATION = "sheet.png", "animation.webp"
TYPES = {".png": "image/png", ".webp": "image/webp", ".safetensors": "application/octet-stream"}


class Output(StrEnum):
    """What a client can fetch of a job, beside its numbered results."""

    INPUT = "input"
    MASK = "mask"
    SHEET = "sheet"
    ANIMATION = "animation"
    PREVIEW = "preview"
    STATE = "state"


FILES = {
    Output.INPUT: INPUT,
    Output.MASK: MASK,
    Output.SHEET: SHEET,
    Output.ANIMATION: ANIMATION,
    Output.PREVIEW: PREVIEW,
    Output.STATE: STATE,
}


def result_name(index: int) -> str:
    return f"result-{index}.png"


def found(folder: Path) -> list[Output]:
    """The outputs that are there."""
    return [output for output, name in FILES.items() if (folder / name).is_file()]
