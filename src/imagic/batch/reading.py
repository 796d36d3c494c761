"""Jobs from a table (JSON lines or CSV), or from a folder of pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagic.batch.jobs import Defaults, Job, Line, jobs_of
from imagic.core.errors import ImagicError, OptionError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
TABLES = (".jsonl", ".csv")
# The columns of a table whose values are texts as they stand; those of a CSV file are read as JSON where they can be.
_TEXTS = frozenset(name for name, field in Line.model_fields.items() if field.annotation is str)


def read_jobs(source: Path, defaults: Defaults) -> list[Job]:
    """The jobs of a table, whose paths are relative to its folder, or of the pictures in a folder, by name, each with
    the text in the .txt file of its name, if there is one.

    Raises OptionError for a source that is neither, or has nothing in it; and, with the line, what Line and jobs_of
    refuse, and a result's name that two jobs have.
    """
    if source.is_dir():
        lines, root = _folder(source), source
    elif source.suffix.lower() in TABLES and source.is_file():
        lines, root = (_json_lines if source.suffix.lower() == ".jsonl" else _csv)(source), source.parent
    else:
        raise OptionError(f"{source} is no folder and no .jsonl or .csv file: name the jobs.")
    root = root.resolve()
    jobs: list[Job] = []
    taken: dict[str, str] = {}
    for number, (place, parse) in enumerate(lines, start=1):
        try:
            found = jobs_of(parse(), number, root, defaults)
            for job in found:
                if job.output in taken:
                    raise OptionError(
                        f"The result would be {job.output}, as that of {taken[job.output]}: tell them apart with"
                        " --name, such as '{stem}-{number}.png'."
                    )
                taken[job.output] = place
        except ImagicError as error:
            raise type(error)(f"{place}: {error}") from error
        jobs += found
    if not jobs:
        raise OptionError(f"There are no jobs in {source}: it must hold pictures, or lines that name them.")
    return jobs


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


# Where a line stands, for messages, and what reads it.
_Lines = Iterator[tuple[str, Callable[[], Line]]]


def _folder(folder: Path) -> _Lines:
    for picture in pictures_in(folder):
        yield picture.name, partial(_beside, picture)


def _beside(picture: Path) -> Line:
    text = picture.with_suffix(".txt")
    return Line(image=picture.name, text=_read(text).strip() if text.is_file() else "")


def _json_lines(path: Path) -> _Lines:
    for number, text in enumerate(_read(path).split("\n"), start=1):
        if text.strip():
            yield f"Line {number} of {path.name}", partial(_line, text)


def _csv(path: Path) -> _Lines:
    rows = csv.DictReader(io.StringIO(_read(path), newline=""), restkey="", strict=True)
    try:
        if "image" not in (rows.fieldnames or ()):
            raise OptionError(f"{path.name} has no column 'image': its first line must name the columns.")
        for row in rows:
            yield f"Line {rows.line_num} of {path.name}", partial(_cells, row)
    except csv.Error as error:
        raise OptionError(f"Line {rows.line_num} of {path.name} is no CSV ({error}): mend it.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read as UTF-8 text ({error}): mend it.") from error


def _line(text: str) -> Line:
    """A line of JSON."""
    try:
        return Line.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        if not first["loc"]:
            example = '{"image": "dog.png", "text": "a sitting dog"}'
            raise OptionError(f"This is no JSON object ({message}): write such as {example}.") from error
        raise OptionError(f"'{first['loc'][0]}' cannot be used: {message}.") from error


def _cells(row: Mapping[str, Any]) -> Line:
    """A line of CSV. An empty cell is none."""
    if "" in row:
        raise OptionError("The line has more cells than there are columns: put texts with commas in quotes.")
    cells = {name: value for name, value in row.items() if value}
    return _line(json.dumps({name: value if name in _TEXTS else _value(name, value) for name, value in cells.items()}))


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(f"[{text}]" if name == "crop" else text)
    except ValueError:
        return text
