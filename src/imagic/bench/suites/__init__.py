"""Suites of edits, by name."""

from __future__ import annotations

from imagic.bench.types import Suite
from imagic.core.errors import OptionError

SUITES = ("menagerie", "menagerie-training")


def open_suite(name: str, limit: int | None = None, seed: int = 0) -> Suite:
    """The suite of that name: its first `limit` items (all of them without a limit) of the selection `seed`.

    Raises OptionError for an unknown name.
    """
    if name in SUITES:
        from imagic.bench.suites.menagerie import Menagerie

        return Menagerie(limit, seed, held_out=name == "menagerie")
    raise OptionError(f"Unknown suite '{name}': choose one of {', '.join(SUITES)}.")
