"""Suites of edits, by name."""

from __future__ import annotations

from pathlib import Path

from imagic.bench.types import Suite
from imagic.core.errors import OptionError

SUITES = (
    "menagerie",
    "menagerie-training",
    "tedbench",
    "diffedit-imagenet",
    "diffedit-coco",
    "diffedit-imagen",
    "pairs",
    "domain",
)


def open_suite(
    name: str,
    limit: int | None = None,
    seed: int = 0,
    data: Path | None = None,
    target_text: str = "",
    source_text: str = "",
) -> Suite:
    """The suite of that name: its first `limit` items (all of them without a limit) of the selection `seed`.

    data: the user's files, for suites that do not bring their own; of diffedit-imagen it may be left out. target_text,
    source_text: of the suite domain. Raises OptionError for an unknown name, missing files, or what the suite has no
    use for.
    """
    if name not in SUITES:
        raise OptionError(f"Unknown suite '{name}': choose one of {', '.join(SUITES)}.")
    if (target_text or source_text) and name != "domain":
        raise OptionError(f"The suite '{name}' has its own texts: leave out --target and --source.")
    if name in ("menagerie", "menagerie-training"):
        if data is not None:
            raise OptionError(f"The suite '{name}' has its own pictures: leave out --data.")
        from imagic.bench.suites.menagerie import Menagerie

        return Menagerie(limit, seed, held_out=name == "menagerie")
    if name == "diffedit-imagen":
        from imagic.bench.suites.imagen import imagen

        return imagen(data, limit, seed)
    if data is None:
        raise OptionError(f"The suite '{name}' is made of files of yours: name them with --data.")
    return _given(name, data, limit, target_text, source_text)


def _given(name: str, data: Path, limit: int | None, target_text: str, source_text: str) -> Suite:
    from imagic.bench.suites import coco, domain, imagenet, pairs, tedbench

    if name == "domain":
        return domain.domain(data, target_text, source_text, limit)
    readers = {
        "tedbench": tedbench.tedbench,
        "diffedit-imagenet": imagenet.imagenet,
        "diffedit-coco": coco.coco,
        "pairs": pairs.pairs,
    }
    return readers[name](data, limit)
