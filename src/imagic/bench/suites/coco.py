"""DiffEdit's COCO benchmark: pairs of similar images of BISON (Hu et al. 2019), edited towards each other's captions.

A BISON entry is a caption, the image that it describes and one much like it. The other image is edited towards the
caption; its own first COCO caption, where COCO's captions are there, is the source text. The middle square is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imagic.bench.suites.given import Given, check_layout, digest, from_file, item, read_json
from imagic.core.errors import OptionError

LIST = "annotations/bison_annotations.cocoval2014.json"
CAPTIONS = "annotations/captions_val2014.json"
NAME = "diffedit-coco"
LAYOUT = f"COCO's folder with {LIST}, val2014 and, for source texts, {CAPTIONS}"


def coco(folder: Path, limit: int | None = None) -> Given:
    """The first `limit` edits. Raises OptionError for a missing file, or a list of another form."""
    path = folder / LIST
    check_layout(NAME, [path], LAYOUT)
    try:
        edits = [(entry["bison_id"], _other(entry), str(entry["caption"])) for entry in read_json(path)["data"]][:limit]
    except (KeyError, TypeError, ValueError) as error:
        raise OptionError(
            f"{path} is not BISON's list: each entry of its data has a bison_id, a caption, two image_candidates and a"
            " true_image_id."
        ) from error
    captions = _captions(folder / CAPTIONS)
    images = {image: folder / "val2014" / f"COCO_val2014_{image:012d}.jpg" for _, image, _ in edits}
    check_layout(NAME, images.values(), LAYOUT)
    items = [
        item(f"bison-{number}", "coco", caption, from_file(images[image], centre=True), captions.get(image, ""))
        for number, image, caption in edits
    ]
    return Given(f"{NAME} {digest(path)}{'' if captions else ', without source texts'}", items)


def _other(entry: dict[str, Any]) -> int:
    """The candidate that the caption does not describe."""
    (other,) = {int(candidate["image_id"]) for candidate in entry["image_candidates"]} - {int(entry["true_image_id"])}
    return other


def _captions(path: Path) -> dict[int, str]:
    """The first caption of each image; none without the file."""
    if not path.is_file():
        return {}
    captions: dict[int, str] = {}
    try:
        for annotation in sorted(read_json(path)["annotations"], key=lambda each: int(each["id"])):
            captions.setdefault(int(annotation["image_id"]), str(annotation["caption"]).strip())
    except (KeyError, TypeError, ValueError) as error:
        raise OptionError(
            f"{path} is not COCO's list of captions: each of its annotations has an id, an image_id and a caption."
        ) from error
    return captions
