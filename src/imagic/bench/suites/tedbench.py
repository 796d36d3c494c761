"""TEdBench (Kawar et al. 2023, Imagic): 100 edits of 40 photographs, each an image and a target text.

It has no source texts. Sizes run from 256 to 1251 pixels, some files have alpha, and one JPEG is named .png.
"""

from __future__ import annotations

from pathlib import Path

from imagic.bench.suites.given import Given, check_layout, digest, from_file, item, read_json
from imagic.core.errors import OptionError

LIST, IMAGES = "input_list.json", "originals"
LAYOUT = f"the folder tedbench as it is published, with {LIST} and {IMAGES}"


def tedbench(folder: Path, limit: int | None = None) -> Given:
    """The first `limit` edits. Raises OptionError for a missing file, or a list of another form."""
    path = folder / LIST
    check_layout("tedbench", [path], LAYOUT)
    try:
        edits = [(str(edit["img_name"]), str(edit["target_text"])) for edit in read_json(path)][:limit]
    except (KeyError, TypeError) as error:
        raise OptionError(f"{path} is not TEdBench's list: each entry has an img_name and a target_text.") from error
    check_layout("tedbench", [folder / IMAGES / image for image, _ in edits], LAYOUT)
    items = [
        item(published_name(image, text), "tedbench", text, from_file(folder / IMAGES / image)) for image, text in edits
    ]
    return Given(f"tedbench {digest(path)}", items)


def published_name(image: str, text: str) -> str:
    """What the authors call a result, without its suffix: the image's name, and the text without its last dot."""
    return f"{image}-{text.removesuffix('.').replace(' ', '_')}"
