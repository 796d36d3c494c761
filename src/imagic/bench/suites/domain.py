"""From a folder of one kind of picture to a text of another, such as horses to "a photo of a zebra".

What a result should look like is known only of the whole set: compare it with pictures of the target domain by FID
(`imagic bench report --sets fid:... --references FOLDER`). Pictures are cut to their middle square.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from imagic.bench.suites.given import Given, from_file, images_in, item
from imagic.core.errors import OptionError


def domain(folder: Path, target_text: str, source_text: str = "", limit: int | None = None) -> Given:
    """One edit towards `target_text` for each of the first `limit` pictures of the folder, by name.

    Raises OptionError for an empty text, and for a folder that is missing or without pictures.
    """
    if not target_text.strip():
        raise OptionError("The suite 'domain' needs a target text (--target), such as 'a photo of a zebra'.")
    files = images_in(folder)
    items = [
        item(path.name, "domain", target_text, from_file(path, centre=True), source_text) for path in files[:limit]
    ]
    names = hashlib.sha256("\n".join(path.name for path in files).encode()).hexdigest()[:12]
    return Given(f"domain {folder.resolve().name} {names}, '{source_text}' to '{target_text}'", items)
