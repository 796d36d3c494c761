"""Rows as JSON lines, each on the disk before the next begins, so that a killed process loses at most one.

Infinite values are written as "inf", since JSON has no such number.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from imagic.batch.types import Row
from imagic.core.errors import OutputError

K = TypeVar("K")


def read(path: Path, key_of: Callable[[Row], K]) -> list[tuple[K, Row]]:
    """The rows of a file with their keys, none where it does not exist. A last line that a killed process left
    unfinished is passed over. Raises OutputError for a damaged line elsewhere: one that is not JSON, or has no key."""
    if not path.is_file():
        return []
    *lines, _torn = path.read_bytes().split(b"\n")
    rows = []
    for number, text in enumerate(lines, start=1):
        try:
            row = json.loads(text)
            rows.append((key_of(row), row))
        except (ValueError, KeyError, TypeError) as error:
            raise OutputError(f"Line {number} of {path.name} is damaged: remove that line and run again.") from error
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
    """One row to the end of the file, on the disk before this returns. Raises OutputError where that cannot be."""
    try:
        with path.open("ab") as file:
            file.write(line(row))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error}): mend that and run again; what is done stays."
        ) from error


def line(row: Row) -> bytes:
    """A row as it stands in the file."""
    return (json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n").encode()


def plain(value: Any) -> Any:
    """The value as it reads back from JSON: lists for tuples, "inf" for an infinite number."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
