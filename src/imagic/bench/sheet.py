"""A contact sheet per method: the strips of its best, median and worst items, to look at before believing a figure.

Items are ranked by success first and then by PSNR to the true edit; where the truth is not known, by alignment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from imagic.bench.arms import by_arm
from imagic.bench.axes import SUCCESS, distances, qualities
from imagic.bench.rows import Row
from imagic.bench.strips import PANELS, opened
from imagic.core.errors import OutputError

CAPTION_HEIGHT = 18
FONT_SIZE = 12


def pick(rows: Sequence[Row], label: str, count: int) -> dict[str, list[Row]]:
    """Up to `count` rows each of the best, the median and the worst of a method, best first and never one row twice.

    Of several strengths the one with the most successes is shown (`best_arm`).
    """
    mine = [row for row in best_arm(rows, label) if not row["error"]]
    ranked = sorted(mine, key=_rank(mine), reverse=True)
    best, rest = ranked[:count], ranked[count:]
    worst, middle = rest[max(0, len(rest) - count) :], rest[: max(0, len(rest) - count)]
    start = max(0, (len(middle) - count) // 2)
    return {"best": best, "median": middle[start : start + count], "worst": worst}


def best_arm(rows: Sequence[Row], label: str) -> list[Row]:
    """The rows of a method at the strength with the most successes, of equal ones the first; of one, all its rows."""
    arms = by_arm([row for row in rows if row["label"] == label])
    return max(arms.values(), key=lambda arm: sum(SUCCESS.value(row) is True for row in arm), default=[])


def _rank(rows: Sequence[Row]) -> Callable[[Row], tuple[bool, float]]:
    """Success, then the first number that these rows have; a row without it comes last."""
    axis = next((axis for axis in (*qualities(rows), *distances(rows)) if axis is not SUCCESS), None)

    def rank(row: Row) -> tuple[bool, float]:
        value = axis.value(row) if axis else None
        if axis is None or value is None:
            return bool(row["success"]), -math.inf
        return bool(row["success"]), float(value) if axis.higher_is_better else -float(value)

    return rank


def contact_sheet(folder: Path, rows: Sequence[Row], label: str, count: int = 4) -> Image.Image:
    """The sheet of one method from the run in `folder`. Raises OutputError when the method has no picture."""
    picks = [(rank, row) for rank, chosen in pick(rows, label, count).items() for row in chosen]
    if not picks:
        raise OutputError(f"There is no result of '{label}' in {folder.name} to show: see its errors in the report.")
    tiles = [(caption(rank, row), opened(folder, row["picture"])) for rank, row in picks]
    width = max(tile.width for _, tile in tiles)
    sheet = Image.new("RGB", (width, CAPTION_HEIGHT + sum(CAPTION_HEIGHT + tile.height for _, tile in tiles)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for index, panel in enumerate(PANELS):
        draw.text((index * width // len(PANELS) + 2, 2), panel, fill="black", font=font)
    top = CAPTION_HEIGHT
    for text, tile in tiles:
        draw.text((2, top + 2), text, fill="black", font=font)
        sheet.paste(tile, (0, top + CAPTION_HEIGHT))
        top += CAPTION_HEIGHT + tile.height
    return sheet


def caption(rank: str, row: Row) -> str:
    """Where the item ranks, what was asked, at which eta it was made, and what it missed."""
    missed = [part for part in ("asked", "kept", "individual") if row[part] is False]
    outcome = "success" if row["success"] else f"missed: {', '.join(missed)}" if missed else "not judged"
    eta = "" if row["eta"] is None else f"eta {row['eta']:.2f} | "
    return f"{rank} | {row['group']} | {row['target_text']} | {eta}{outcome}"
