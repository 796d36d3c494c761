"""Figures as SVG that lives inside a page: it takes the page's ink, in light and in dark, and its ids are its own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from imagic.core.errors import NotAvailable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#57595b"  # stands for the page's own colour, and is drawn by no series
# Okabe and Ito's colours for all kinds of colour vision, without black and yellow, which one of two pages would hide.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
_PAPER = (
    "svg { color: #1d2125; background: #ffffff }"
    " @media (prefers-color-scheme: dark) { svg { color: #e4e7ea; background: #15181b } }"
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":")


class Style(NamedTuple):
    """How a method is drawn in all figures of a report."""

    colour: str
    marker: str
    line: str


@contextmanager
def drawing(name: str, width: float = 7.4, height: float = 4.2) -> Iterator[tuple[Figure, Axes]]:
    """A figure of that size in inches, and its axes, within matplotlib settings for `inline`.

    Raises NotAvailable without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NotAvailable("Figures need matplotlib: pip install 'imagic[report]'.") from error
    ink = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    settings: Any = {  # typed by matplotlib with one literal per setting
        **ink,
        "grid.color": INK,
        "grid.alpha": 0.25,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "legend.frameon": False,
        "font.size": 9,
        "svg.fonttype": "none",  # text stays text, to be read aloud and found
        "svg.hashsalt": name,
        "text.parse_math": False,  # a method's name may hold any sign
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def inline(figure: Figure, name: str) -> str:
    """The <svg> element, as wide as its place. name: of letters, digits and hyphens; no other figure of the page may
    have it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace(INK, "currentColor").replace("<svg ", '<svg role="img" ', 1)


def standalone(text: str) -> str:
    """An `inline` figure as a file of its own, with ink and paper for light and dark."""
    start = text.index(">") + 1
    return f"{text[:start]}<style>{_PAPER}</style>{text[start:]}"


def style_of(index: int) -> Style:
    """Of the index-th method; no two of the first 42 are alike."""
    around, place = divmod(index, len(COLOURS))
    return Style(COLOURS[place], MARKERS[index % len(MARKERS)], LINES[around % len(LINES)])
