"""The report of a run as one HTML file: nothing is loaded from elsewhere and nothing runs in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from imagic.bench import report, sheet
from imagic.bench.arms import arm_of, by_label
from imagic.bench.charts import Chart
from imagic.bench.lines import summarise
from imagic.bench.rows import Row
from imagic.bench.strips import PANELS, opened
from imagic.bench.tables import Table
from imagic.core.errors import OutputError

MAX_WIDTH = 1024  # pixels of a strip of four pictures
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Shown:
    """A strip of the contact sheet. uri: the picture itself, empty with the reason in `missing`."""

    rank: str
    caption: str
    uri: str
    missing: str = ""


def page(folder: Path, rows: Sequence[Row], charts: Sequence[Chart], more: Sequence[Table] = (), count: int = 3) -> str:
    """The page. more: tables beside those of the run itself. count: pictures each of a method's best, median and worst.

    A picture that is missing from the folder is said to be so, and the report goes on.
    """
    lines = summarise(rows)
    environment = Environment(
        loader=PackageLoader("imagic.bench"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(
        title=f"imagic bench: {'; '.join(dict.fromkeys(row['suite'] for row in rows))}",
        conditions=report.conditions_of(rows),
        means=report.means_table(rows, lines),
        full=report.full_table(rows, lines),
        more=more,
        charts=charts,
        panels=PANELS,
        sheets=_sheets(folder, rows, count),
        remarks=report.remarks_of(rows),
    )


def _sheets(folder: Path, rows: Sequence[Row], count: int) -> dict[str, list[Shown]]:
    """Per method, under the strength that is shown, its best, median and worst items."""
    sheets = {}
    for label in by_label(rows):
        picks = [(rank, row) for rank, chosen in sheet.pick(rows, label, count).items() for row in chosen]
        if picks:
            sheets[arm_of(picks[0][1])] = [_shown(folder, rank, row) for rank, row in picks]
    return sheets


def _shown(folder: Path, rank: str, row: Row) -> Shown:
    caption = sheet.caption(rank, row)
    try:
        return Shown(rank, caption, _data_uri(opened(folder, row["picture"])))
    except OutputError as error:
        return Shown(rank, caption, "", str(error))


def _data_uri(strip: Image.Image) -> str:
    strip.thumbnail((MAX_WIDTH, MAX_WIDTH), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
