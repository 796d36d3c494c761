"""A text as a part of a file name that is safe on every file system."""

from __future__ import annotations

import re
import unicodedata

LONGEST_PART = 80  # bytes: two parts, a label and an ending stay well under the 255 of most file systems


def slug(text: str) -> str:
    """The letters and digits of a text in lower case, joined by dashes, at most LONGEST_PART bytes of UTF-8."""
    words = "-".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower()))
    return words.encode()[:LONGEST_PART].decode(errors="ignore").strip("-")
