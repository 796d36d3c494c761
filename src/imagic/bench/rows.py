"""Results as JSON lines: one row per (item, method, strength), appended as it is made: a killed run loses at most one.

Each shard writes a file of its own (`rows-2-of-5.jsonl`), and all are read together. Of two rows with one key the later
one holds, but an error never replaces a result. Infinite values (the PSNR of equal images) are written as "inf", since
JSON has no such number.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagic.core.errors import OutputError

Row = dict[str, Any]
Key = tuple[str, str, int, float | None]  # item, label, seed, and the strength that a sweep asked for


def key_of(row: Mapping[str, Any]) -> Key:
    return row["item"], row["label"], row["seed"], row.get("strength")


def read_rows(folder: Path) -> dict[Key, Row]:
    """Every row under `folder`, by key. A last line that a killed run left unfinished is passed over.

    Raises OutputError for a damaged line elsewhere.
    """
    rows = {}
    for path in sorted(folder.glob("rows*.jsonl")):
        for row in _parse(path):
            if key_of(row) not in rows or row["error"] is None:
                rows[key_of(row)] = row
    return rows


def _parse(path: Path) -> list[Row]:
    *lines, _torn = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            key_of(row)
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(f"Line {number} of {path.name} is damaged: remove that line and run again.") from error
        rows.append(row)
    return rows


def repair(path: Path) -> None:
    """Cut off an unfinished last line, so that the next row starts on a line of its own."""
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


def append(path: Path, row: Row) -> None:
    """One row to the end of the file, on the disk before this returns."""
    line = json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def plain(value: Any) -> Any:
    """The value as it reads back from JSON: lists for tuples, "inf" for an infinite number."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
