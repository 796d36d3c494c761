"""What suites of given pictures share: items whose true edit nobody knows, and the check of their layout."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from imagic.batch.reading import pictures_in
from imagic.bench.types import Item, Pictures
from imagic.core.errors import OptionError
from imagic.core.frame import Box, Frame
from imagic.core.images import Picture, read_image
from imagic.core.masks import as_mask
from imagic.core.types import Backbone


@dataclass(frozen=True)
class Given:
    """A suite without truth, and so without a judge. Raises OptionError when two items have one name."""

    name: str
    listed: Sequence[Item]

    def __post_init__(self) -> None:
        counts = Counter(item.name for item in self.listed)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise OptionError(f"The suite '{self.name}' has two items named '{twice[0]}': each needs its own name.")

    def items(self) -> Sequence[Item]:
        return self.listed

    def judge(self) -> None:
        return None


def item(
    name: str,
    group: str,
    target_text: str,
    render: Callable[[Backbone], Pictures],
    source_text: str = "",
    instruction: str = "",
) -> Item:
    """An item without facts."""
    return Item(name, group, target_text, source_text, {}, {}, render, instruction)


def from_file(image: Path, mask: Path | None = None, centre: bool = False) -> Callable[[Backbone], Pictures]:
    """Renders the picture in a file, and its mask, as `imagic edit` would see them: whole, at the model's size, the
    rest filled and not measured. centre: its middle square instead."""

    def render(backbone: Backbone) -> Pictures:
        picture = read_image(image)
        crop = _middle(picture) if centre else None
        frame = Frame.fit(picture, backbone.image_size, backbone.size_multiple, crop)
        source = frame.to_model(picture)[0].to(backbone.device)
        whole = frame.inner == (0, 0, frame.side, frame.side)
        region = None
        if mask is not None:
            region = frame.mask_to_model(as_mask(mask, picture).plane)[0].to(backbone.device)
        return Pictures(source, mask=region, inside=None if whole else frame.inner)

    return render


def middle_square(image: Path, side: int) -> Tensor:
    """The middle square of the picture in a file, (3, side, side) in [-1, 1]."""
    picture = read_image(image)
    return Frame.fit(picture, side, crop=_middle(picture)).to_model(picture)[0]


def _middle(picture: Picture) -> Box:
    side = min(picture.width, picture.height)
    return Box((picture.width - side) // 2, (picture.height - side) // 2, side, side)


def images_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name. Raises OptionError when there is none."""
    if found := pictures_in(folder):
        return found
    raise OptionError(f"There are no pictures in {folder}: name a folder of PNG or JPEG files.")


def class_images(folder: Path) -> list[tuple[str, Path]]:
    """The class and the file of each picture: of those in the folder itself, whose class is "", or else of those in its
    folders, one for each class. Raises OptionError when there is none."""
    if found := pictures_in(folder):
        return [("", path) for path in found]
    inner = [(path.parent.name, path) for each in sorted(folder.glob("*/")) for path in pictures_in(each)]
    return inner or [("", path) for path in images_in(folder)]


def check_layout(suite: str, files: Iterable[Path], layout: str) -> None:
    """Raises OptionError that names the first missing file. layout: what the suite expects, for the message."""
    for path in files:
        if not path.is_file():
            raise OptionError(f"The file {path} is missing: the suite '{suite}' needs {layout}.")


def read_json(path: Path) -> Any:
    """Raises OptionError for a file that is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise OptionError(f"{path} is not valid JSON ({error}): get an intact copy.") from error


def digest(path: Path) -> str:
    """A short hash of a file's bytes: lists that differ make suites that differ in name."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
