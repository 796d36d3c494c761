"""Results as JSON lines: one row per (item, method, strength), appended as it is made: a killed run loses at most one.

Each shard writes a file of its own (`rows-2-of-5.jsonl`), and all are read together. Of two rows with one key the later
one holds, but an error never replaces a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagic.batch import journal
from imagic.batch.journal import append, plain, repair
from imagic.batch.types import Row

__all__ = ["Key", "Row", "append", "key_of", "plain", "read_rows", "repair"]

Key = tuple[str, str, int, float | None]  # item, label, seed, and the strength that a sweep asked for


def key_of(row: Mapping[str, Any]) -> Key:
    return row["item"], row["label"], row["seed"], row.get("strength")


def read_rows(folder: Path) -> dict[Key, Row]:
    """Every row under `folder`, by key. A last line that a killed run left unfinished is passed over.

    Raises OutputError for a damaged line elsewhere.
    """
    rows: dict[Key, Row] = {}
    for path in sorted(folder.glob("rows*.jsonl")):
        for key, row in journal.read(path, key_of):
            if key not in rows or row["error"] is None:
                rows[key] = row
    return rows
