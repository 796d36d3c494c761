"""Small copies of the pictures of a job, for lists that show many at once; each is made when it is first asked for."""

from __future__ import annotations

import threading
from pathlib import Path

from PIL import Image

from imagic.core.files import replacing

SIDE = 320  # pixels of the longer side at most: sharp in a list, also on a screen of double density
AT_ONCE = 2  # a picture of 24 megapixels takes 100 MB to make small
_turns = threading.BoundedSemaphore(AT_ONCE)


def thumbnail(path: Path) -> Path:
    """The small copy, WebP, of a picture that the service wrote; kept beside it.

    Raises OutputError where the disk is full, FileNotFoundError where the picture is gone.
    """
    small = path.with_name(f"small-{path.stem}.webp")
    with _turns:
        if not small.is_file():
            with Image.open(path) as picture, replacing(small, overwrite=True) as part:
                picture.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
                picture.save(part, "WEBP", quality=85)
    return small
