"""Any list of edits: one JSON object per line, of an image and what is to become of it.

Fields: `image`; `target` (a text of the result), `instruction` (a text of what to do), or both; where they are known
`source` (a text of the image) and `mask` (a picture, white where it may change: for measuring, no method sees it);
`group` and `id`. Files are named relative to the list.
"""

from __future__ import annotations

import json
from pathlib import Path

from imagic.bench.suites.given import Given, check_layout, digest, from_file, item
from imagic.bench.types import Item
from imagic.core.errors import OptionError

FIELDS = ("image", "target", "source", "instruction", "mask", "group", "id")
LAYOUT = "a file of JSON lines and the images and masks that it names, relative to its folder"


def pairs(path: Path, limit: int | None = None) -> Given:
    """The edits of the list in `path`, the first `limit` of them.

    Raises OptionError for a missing file or a line that cannot be used.
    """
    check_layout("pairs", [path], LAYOUT)
    lines = [(number, line) for number, line in enumerate(path.read_bytes().splitlines(), start=1) if line.strip()]
    edits = [(number, _parsed(path, number, line)) for number, line in lines[:limit]]
    named = [path.parent / edit[field] for _, edit in edits for field in ("image", "mask") if field in edit]
    check_layout("pairs", named, LAYOUT)
    return Given(f"pairs, {path.name} {digest(path)}", [_item(path.parent, *edit) for edit in edits])


def _parsed(path: Path, number: int, line: bytes) -> dict[str, str]:
    place = f"Line {number} of {path.name}"
    try:
        edit = json.loads(line)
    except ValueError as error:
        raise OptionError(f"{place} is not valid JSON ({error}): write one object per line.") from error
    if not isinstance(edit, dict) or not all(isinstance(value, str) for value in edit.values()):
        raise OptionError(f"{place} must be an object of texts, such as {{'image': 'dog.png', 'target': 'a dog'}}.")
    if unknown := [name for name in edit if name not in FIELDS]:
        raise OptionError(f"{place} has the unknown field '{unknown[0]}': known are {', '.join(FIELDS)}.")
    if not edit.get("image") or not (edit.get("target") or edit.get("instruction")):
        raise OptionError(f"{place} lacks something: an image, and a target or an instruction, must be there.")
    return {name: value for name, value in edit.items() if value}


def _item(folder: Path, number: int, edit: dict[str, str]) -> Item:
    image, mask = folder / edit["image"], folder / edit["mask"] if "mask" in edit else None
    return item(
        name=edit.get("id", f"{number:04d}-{image.stem}"),
        group=edit.get("group", "pairs"),
        target_text=edit.get("target", ""),
        render=from_file(image, mask),
        source_text=edit.get("source", ""),
        instruction=edit.get("instruction", ""),
    )
