"""Uploads are decoded apart, within bounds."""

from __future__ import annotations

import base64
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagic.core.errors import ImageError
from imagic.core.images import read_image
from imagic.serve import decoding
from imagic.serve.decoding import decode_upload, read_upload
from tests.serve.children import dies, eats_memory, eats_time, lies
from tests.serve.conftest import encoded


def test_the_picture_is_that_of_the_library(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    file = tmp_path / "given.webp"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    Image.fromarray(pixels).save(file, lossless=True, exact=True, exif=exif)
    upload = decode_upload(file.read_bytes(), "The image", tmp_path / "input.png", 10_000)
    picture, expected = read_upload(tmp_path / "input.png", upload.facts), read_image(file)
    assert (upload.width, upload.height) == (20, 30)
    assert np.array_equal(picture.rgb, expected.rgb)
    assert picture.alpha is not None
    assert expected.alpha is not None
    assert np.array_equal(picture.alpha, expected.alpha)
    assert (picture.sha256, picture.format, picture.notes) == (expected.sha256, "WEBP", expected.notes)
    assert {path.name for path in tmp_path.iterdir()} == {"given.webp", "input.png"}


@pytest.mark.parametrize("child", [eats_memory, dies, lies])
def test_a_decoder_out_of_bounds_ends_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: object) -> None:
    monkeypatch.setattr(decoding, "_decode", child)
    with pytest.raises(ImageError, match="too much memory or time"):
        decode_upload(encoded(), "The image", tmp_path / "input.png", 10_000)
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_decode", eats_time)
    monkeypatch.setattr(decoding, "WALL_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(ImageError, match="too much memory or time"):
        decode_upload(encoded(), "The image", tmp_path / "input.png", 10_000)
    assert time.monotonic() - started < 30
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_refused_before_its_pixels(tmp_path: Path) -> None:
    # 40,000 x 40,000 pixels of one colour, in a few bytes of its header.
    header = base64.b64decode("iVBORw0KGgoAAAANSUhEUg==") + (40_000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    data = header + zlib.crc32(header[12:]).to_bytes(4, "big") + encoded()[33:]
    with pytest.raises(ImageError, match="megapixels"):
        decode_upload(data, "The image", tmp_path / "input.png", 10_000)
