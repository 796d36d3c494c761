"""Writes the tables of the docs that follow from the code: `python docs/tables.py` puts them between their markers.

A table stands between `<!-- table: name -->` and `<!-- end -->`; a test compares it with what the code says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imagic.core import registry
from imagic.core.describing import describe_options
from imagic.core.registry import Group
from imagic.core.types import Method

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/methods.md")
BLOCK = re.compile(r"(?P<start><!-- table: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def methods() -> str:
    """Each installed method, the texts it must be given, and what it needs from a model."""
    found = [registry.method(name) for name in registry.names(Group.METHODS)]
    rows = [
        (f"`{each.name}`", each.paper, _texts(each), ", ".join(sorted(each.needs)), _presets(each)) for each in found
    ]
    return table(("method", "paper", "texts", "needs a model with", "presets"), rows)


def fit_options() -> str:
    """The options of Imagic's `fit`, with the value of each preset."""
    return options("imagic", "FitOptions")


def edit_options() -> str:
    """The options of Imagic's `edit`."""
    return options("imagic", "EditOptions")


TABLES: dict[str, Callable[[], str]] = {"methods": methods, "fit-options": fit_options, "edit-options": edit_options}


def options(name: str, which: str) -> str:
    """The options of a method's `FitOptions`, with the value of each preset, or of its `EditOptions`."""
    method = registry.method(name)
    presets = list(method.presets) if which == "FitOptions" else []
    rows = []
    for option in describe_options(getattr(method, which)):
        own = [method.presets[preset].get(option["name"], option["default"]) for preset in presets]
        values = [_shown(value) for value in own or [option["default"]]]
        rows.append((f"`{option['name']}`", *values, _bounds(option), option["help"]))
    return table(("option", *(presets or ["default"]), "allowed", "meaning"), rows)


def _texts(method: Method) -> str:
    return ", ".join(text.removesuffix("_text") for text in method.texts)


def _shown(value: object) -> str:
    return "none" if value in (None, "", ()) else str(value)


def _bounds(option: dict[str, object]) -> str:
    if isinstance(choices := option["choices"], list) and choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    low, high = option["minimum"], option["maximum"]
    if low is None and high is None:
        return str(option["type"])
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"{low} to {high}"


def _presets(method: Method) -> str:
    return ", ".join(f"`{preset}`" for preset in method.presets)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def filled(page: str, known: Mapping[str, Callable[[], str]] = TABLES) -> str:
    """A page with every table in it written anew."""
    return BLOCK.sub(lambda match: match["start"] + known[match["name"]]() + match["end"], page)


if __name__ == "__main__":
    for path in (ROOT / name for name in PAGES):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
