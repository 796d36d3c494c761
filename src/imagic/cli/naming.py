"""Names of output files: beside the input, safe on every file system, and never those of a file that exists."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from imagic.core.slug import slug


def beside(image: Path, text: str, folder: Path | None = None, ending: str = ".png") -> Path:
    """`dog.jpg` and "A sitting dog." give `dog-a-sitting-dog.png` in the same folder, or in the one given."""
    name = "-".join(part for part in (slug(image.stem), slug(text)) if part) or "edited"
    return (image.parent if folder is None else folder) / (name + ending)


def free(paths: Sequence[Path]) -> list[Path]:
    """The paths as they are where none exists, else all with the first of -2, -3, ... that is free for every one."""
    attempts = (
        [path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}") for path in paths]
        for number in count(1)
    )
    return next(tried for tried in attempts if not any(path.exists() or path.is_symlink() for path in tried))
