"""The comments of a GIF, measured before Pillow reads them: it takes time with the square of their length."""

from __future__ import annotations

_EXTENSION, _COMMENT, _IMAGE = 0x21, 0xFE, 0x2C
_HEAD = 13  # bytes: the signature and the screen's size


def comment_bytes(data: bytes) -> int:
    """How many bytes of comments stand before the first frame of a GIF; 0 for any other file."""
    if not data.startswith((b"GIF87a", b"GIF89a")) or len(data) < _HEAD:
        return 0
    flags = data[10]
    place = _HEAD + (3 << (flags % 8 + 1) if flags & 0x80 else 0)
    found = 0
    while place < len(data) and data[place] != _IMAGE:
        if data[place] != _EXTENSION or place + 1 >= len(data):
            place += 1  # as Pillow does with what it does not know
            continue
        is_comment, place = data[place + 1] == _COMMENT, place + 2
        while place < len(data) and data[place]:
            found += data[place] if is_comment else 0
            place += 1 + data[place]
        place += 1
    return found
