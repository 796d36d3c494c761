"""Comments of a GIF: counted as Pillow reads them, and too many of them are refused before it does."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image

from imagic.core.errors import ImageError
from imagic.core.gif import comment_bytes
from imagic.core.images import MAX_COMMENT, decode_image


def gif(comment: bytes, mode: str = "P") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (24, 24)).save(file, "GIF", comment=comment)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["P", "RGB"])
@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 5000])
def test_comments_are_counted_as_pillow_reads_them(mode: str, length: int) -> None:
    data = gif(b"x" * length, mode)
    with Image.open(io.BytesIO(data)) as image:
        assert comment_bytes(data) == len(image.info.get("comment", b"")) == length


def test_other_files_and_cut_ones_have_none() -> None:
    data = gif(b"x" * 1000)
    assert comment_bytes(b"\x89PNG" + data) == comment_bytes(b"") == comment_bytes(data[:12]) == 0
    counts = [comment_bytes(data[:stop]) for stop in range(len(data) + 1)]
    assert counts == sorted(counts)
    assert counts[-1] == 1000


def test_a_gif_full_of_comments_is_refused_at_once() -> None:
    """Pillow took 10 seconds for 5 MB of them, and four times as long for twice as much."""
    assert decode_image(gif(b"x" * 200_000)).width == 24
    block = b"\xff" + b"x" * 255
    sound = gif(b"")
    head = sound.index(b"!") if b"!" in sound[:800] else sound.index(b",", 13)
    full = sound[:head] + b"!\xfe" + block * (5 * MAX_COMMENT // 255) + b"\0" + sound[head:]
    started = time.process_time()
    with pytest.raises(ImageError, match="comments"):
        decode_image(full)
    assert time.process_time() - started < 3
