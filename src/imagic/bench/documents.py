"""The whole report of a run, as a file: HTML with figures and pictures, or Markdown with what is text of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagic.bench import html, report
from imagic.bench.arms import strength_of
from imagic.bench.charts import charts, trade_off_axes, trade_off_tables
from imagic.bench.rows import Row
from imagic.bench.svg import standalone
from imagic.bench.tables import Table
from imagic.core.errors import OutputError
from imagic.core.files import check_writable, write_bytes

SUFFIXES = (".html", ".md")


def check(path: Path, overwrite: bool = False) -> None:
    """Raises OutputError, before any work, for a name that `write` cannot write."""
    if path.suffix not in SUFFIXES:
        raise OutputError(f"A report is written as {' or '.join(SUFFIXES)}, not as '{path.name}'.")
    check_writable(path, overwrite)


def markdown(rows: Sequence[Row], more: Sequence[Table] = (), distance: str = "", alignment: str = "") -> str:
    """The tables of a run, with those of the trade-off if it swept strengths. more: further tables."""
    return report.markdown(rows, [*more, *_trade_offs(rows, distance, alignment)])


def write(
    path: Path,
    folder: Path,
    rows: Sequence[Row],
    more: Sequence[Table] = (),
    distance: str = "",
    alignment: str = "",
    overwrite: bool = False,
) -> None:
    """HTML or Markdown, as the suffix says. distance, alignment: of the trade-off, by name.

    Raises OptionError for a name that the run has no values of, OutputError as `check`, NotAvailable for HTML without
    matplotlib.
    """
    check(path, overwrite)
    if path.suffix == ".md":
        text = markdown(rows, more, distance, alignment)
    else:
        drawn = charts(rows, trade_off_axes(rows, distance, alignment))
        text = html.page(folder, rows, drawn, [*more, *_trade_offs(rows, distance, alignment)])
    write_bytes(path, text.encode(), overwrite)


def write_figures(
    folder: Path, rows: Sequence[Row], distance: str = "", alignment: str = "", overwrite: bool = False
) -> list[Path]:
    """Each figure as an SVG file in `folder`, which is made if need be; returns their paths. Raises as `write`."""
    drawn = charts(rows, trade_off_axes(rows, distance, alignment))
    paths = [folder / f"{chart.name}.svg" for chart in drawn]
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        check_writable(path, overwrite)
    for path, chart in zip(paths, drawn, strict=True):
        write_bytes(path, standalone(chart.svg).encode(), overwrite)
    return paths


def _trade_offs(rows: Sequence[Row], distance: str, alignment: str) -> list[Table]:
    swept = any(strength_of(row) is not None for row in rows)
    return trade_off_tables(rows, trade_off_axes(rows, distance, alignment)) if swept else []
