"""A table of text cells, and how it reads as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """title: a heading, or empty. note: what the columns mean, or empty."""

    header: Sequence[str]
    body: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.body]
        parts = ["\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines), self.note]
        if self.title:
            parts.insert(0, f"## {self.title}")
        return "\n\n".join(part for part in parts if part)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def significant(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"
