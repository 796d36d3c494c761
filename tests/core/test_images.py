"""Every mode and format comes in as the same sRGB pixels; everything else is refused in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from imagic.core.errors import ImageError
from imagic.core.images import Picture, as_picture, decode_image, open_image, read_image, to_rgb

WIDTH, HEIGHT = 40, 24
_y, _x = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([_x * 6, _y * 10, (_x + _y) * 4], axis=-1).astype(np.uint8)
GREY = (_x * 6).astype(np.uint8)
ALPHA = (_y * 11).astype(np.uint8)
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}}


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def rgba() -> Image.Image:
    image = Image.fromarray(RGB)
    image.putalpha(Image.fromarray(ALPHA))
    return image


def png(width: int, height: int, rest: bytes = b"") -> bytes:
    """The header of a PNG of a size that nobody has decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rest) + chunk(b"IEND", b"")


# Formats and modes


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_give_the_exact_pixels(format: str) -> None:
    data = encoded(Image.fromarray(RGB), format, **LOSSLESS[format])
    picture = decode_image(data)
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.alpha is None
    assert picture.format == format
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("format", ["JPEG", "AVIF"])
def test_lossy_formats_come_close(format: str) -> None:
    picture = decode_image(encoded(Image.fromarray(RGB), format, quality=95))
    assert np.abs(picture.rgb.astype(int) - RGB).mean() < 3
    assert picture.format == format


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept_apart(format: str) -> None:
    picture = decode_image(encoded(rgba(), format, **LOSSLESS[format]))
    np.testing.assert_array_equal(picture.rgb, RGB)
    np.testing.assert_array_equal(picture.alpha, ALPHA)
    np.testing.assert_array_equal(np.asarray(picture.to_pil()), np.dstack([RGB, ALPHA]))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_grey_and_black_and_white(format: str) -> None:
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(GREY), format)).rgb, np.dstack([GREY] * 3))
    bits = Image.fromarray(GREY > 100)
    expected = np.where(GREY > 100, 255, 0)
    np.testing.assert_array_equal(decode_image(encoded(bits, format)).rgb, np.dstack([expected] * 3))


def test_grey_with_alpha() -> None:
    image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    picture = decode_image(encoded(image, "PNG"))
    np.testing.assert_array_equal(picture.rgb, np.dstack([GREY] * 3))
    np.testing.assert_array_equal(picture.alpha, ALPHA)


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_palettes(format: str) -> None:
    image = Image.fromarray(RGB).quantize(64)
    np.testing.assert_array_equal(decode_image(encoded(image, format)).rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_palette_transparency(format: str) -> None:
    index = (_x // 10).astype(np.uint8)
    image = Image.new("P", (WIDTH, HEIGHT))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.putdata(index.ravel().tolist())
    picture = decode_image(encoded(image, format, transparency=2))
    np.testing.assert_array_equal(picture.alpha, np.where(index == 2, 0, 255))
    np.testing.assert_array_equal(picture.rgb[:, 0], np.full((HEIGHT, 3), [255, 0, 0]))


def test_palette_with_graded_transparency_and_keyed_colours() -> None:
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    assert decode_image(encoded(image, "PNG", transparency=bytes([10, 77]))).alpha[0, 0] == 77  # type: ignore[index]
    keyed = decode_image(encoded(Image.fromarray(RGB), "PNG", transparency=(0, 0, 0)))
    np.testing.assert_array_equal(keyed.alpha, np.where((RGB == 0).all(-1), 0, 255))
    grey = decode_image(encoded(Image.fromarray(GREY), "PNG", transparency=60))
    np.testing.assert_array_equal(grey.alpha, np.where(GREY == 60, 0, 255))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    values = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    picture = decode_image(encoded(Image.fromarray(values), format))
    np.testing.assert_array_equal(picture.rgb[:, :, 1], np.rint(values / 257))


def test_16_bit_grey_keeps_its_transparent_value() -> None:
    values = np.repeat(np.arange(WIDTH, dtype=np.uint16)[None] * 1000, HEIGHT, axis=0)
    raw = encoded(Image.fromarray(values), "PNG")
    key = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 3000)
    key += struct.pack(">I", zlib.crc32(key[4:]))
    at = raw.index(b"IDAT") - 4
    picture = decode_image(raw[:at] + key + raw[at:])
    np.testing.assert_array_equal(picture.alpha, np.where(values == 3000, 0, 255))


def test_16_bit_colour() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    wide = RGB.astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_image(data).rgb, RGB)


def test_float_and_32_bit_tiffs() -> None:
    floats = Image.fromarray((GREY / 255).astype(np.float32))
    np.testing.assert_array_equal(decode_image(encoded(floats, "TIFF")).rgb, np.dstack([GREY] * 3))
    for bad in (2.0, -0.1, np.nan):
        values = np.full((HEIGHT, WIDTH), bad, np.float32)
        with pytest.raises(ImageError, match="outside 0 to 1"):
            decode_image(encoded(Image.fromarray(values), "TIFF"))
    with pytest.raises(ImageError, match="32 bits per colour"):
        decode_image(encoded(Image.fromarray(np.full((HEIGHT, WIDTH), 1 << 20, np.int32)), "TIFF"))


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(format: str) -> None:
    ink = Image.merge("CMYK", [Image.new("L", (WIDTH, HEIGHT), level) for level in (255, 0, 0, 0)])
    cyan = decode_image(encoded(ink, format)).rgb.reshape(-1, 3).mean(0)
    np.testing.assert_allclose(cyan, [0, 255, 255], atol=3)


def test_lab() -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(RGB), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    assert np.abs(decode_image(encoded(lab, "TIFF")).rgb.astype(int) - RGB).mean() <= 3  # 8-bit Lab is coarse


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation(format: str) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    picture = decode_image(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options))
    np.testing.assert_array_equal(picture.rgb, np.asarray(frames[0]))


def test_a_second_picture_behind_a_jpeg_is_ignored() -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    picture = decode_image(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert picture.format == "JPEG"
    assert picture.rgb[0, 0, 0] > 200


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(Image.fromarray(RGB), "PNG"))
    picture = read_image(tmp_path / "photo.jpg")
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.format == "PNG"


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_upright(orientation: int, format: str) -> None:
    # What a camera held that way stores, by the table of EXIF 2.3: what the 0th row and 0th column of the file show.
    stored = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: RGB.transpose(1, 0, 2)[::-1],
        7: RGB.transpose(1, 0, 2)[::-1, ::-1],
        8: RGB.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    image.putalpha(Image.fromarray(np.ascontiguousarray(stored[:, :, 0])))
    data = encoded(image, format, exif=exif, **LOSSLESS[format])
    picture = decode_image(data)
    np.testing.assert_array_equal(picture.rgb, RGB)
    np.testing.assert_array_equal(picture.alpha, RGB[:, :, 0])
    np.testing.assert_array_equal(
        picture.rgb, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))[..., :3]
    )


def test_a_nonsense_orientation_or_exif_block_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(RGB), "PNG", exif=exif)).rgb, RGB)
    for broken in (b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(RGB), "PNG", exif=broken)).rgb, RGB)


# Colour profiles


def profile(space: bytes, connection: bytes, tags: Mapping[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    """An ICC v2 profile (ICC.1:2001-04) of the given tags."""
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x02400000, kind, space, connection)
    header += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def swapped() -> bytes:
    """sRGB with its red and green primaries exchanged."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def test_a_profile_is_converted_to_srgb() -> None:
    picture = decode_image(encoded(Image.fromarray(RGB), "PNG", icc_profile=swapped()))
    assert np.abs(picture.rgb.astype(int) - RGB[:, :, [1, 0, 2]]).max() <= 1
    assert picture.notes == ()


def test_a_profile_leaves_alpha_alone_and_serves_palettes_and_grey() -> None:
    picture = decode_image(encoded(rgba(), "PNG", icc_profile=swapped()))
    assert np.abs(picture.rgb.astype(int) - RGB[:, :, [1, 0, 2]]).max() <= 1
    np.testing.assert_array_equal(picture.alpha, ALPHA)
    palette = Image.fromarray(RGB).quantize(64)
    expected = np.asarray(palette.convert("RGB"))[:, :, [1, 0, 2]].astype(int)
    assert np.abs(decode_image(encoded(palette, "PNG", icc_profile=swapped())).rgb - expected).max() <= 1
    grey = decode_image(encoded(Image.fromarray(GREY), "PNG", icc_profile=swapped()))
    assert grey.notes == ()


def test_an_srgb_profile_leaves_every_bit() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(RGB), "PNG", icc_profile=srgb)).rgb, RGB)
    # Another maker's sRGB, whose red primary is rounded otherwise: a conversion would disturb pixels by one level.
    at = srgb.index(b"rXYZ")
    place = struct.unpack(">I", srgb[at + 4 : at + 8])[0] + 8
    red = struct.unpack(">i", srgb[place : place + 4])[0]
    other = srgb[:place] + struct.pack(">i", red + 20) + srgb[place + 4 :]
    converted = ImageCms.profileToProfile(
        Image.fromarray(RGB), ImageCms.ImageCmsProfile(io.BytesIO(other)), ImageCms.createProfile("sRGB")
    )
    assert np.abs(np.asarray(converted).astype(int) - RGB).max() == 1
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(RGB), "PNG", icc_profile=other)).rgb, RGB)


def srgb_levels(light: Any) -> Any:
    """The transfer function of IEC 61966-2-1."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_a_grey_profile() -> None:
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    gamma = 1.8
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    grey = profile(b"GRAY", b"XYZ ", {b"wtpt": white, b"kTRC": curve})
    picture = decode_image(encoded(Image.fromarray(GREY), "PNG", icc_profile=grey))
    assert np.abs(picture.rgb - srgb_levels((GREY / 255) ** gamma)[:, :, None]).max() <= 2


def test_a_cmyk_profile() -> None:
    # A lut8 in which black ink alone counts: L* = 100 (1 - K), a* = b* = 0.
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = (
        b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + bytes([255, 128, 128, 0, 128, 128]) * 8 + ramp * 3
    )
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    inks = profile(b"CMYK", b"Lab ", {b"wtpt": white, b"A2B0": table}, b"prtr")
    image = Image.merge("CMYK", [Image.fromarray(plane) for plane in (*RGB.transpose(2, 0, 1), GREY)])
    picture = decode_image(encoded(image, "TIFF", icc_profile=inks))
    assert picture.notes == ()
    lightness = 100 * (1 - GREY / 255.0)  # CIE 15
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    assert np.abs(picture.rgb - srgb_levels(light)[:, :, None]).max() <= 2


@pytest.mark.parametrize("bad", [b"not a profile", swapped()[:200]])
def test_a_damaged_profile_is_ignored_with_a_note(bad: bytes) -> None:
    picture = decode_image(encoded(Image.fromarray(RGB), "PNG", icc_profile=bad), "in.png")
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.notes == ("The colour profile of in.png cannot be used and was ignored.",)


def test_a_profile_for_other_colours_is_ignored_with_a_note() -> None:
    picture = decode_image(encoded(Image.new("CMYK", (WIDTH, HEIGHT)), "TIFF", icc_profile=swapped()))
    assert len(picture.notes) == 1
    assert (picture.rgb == 255).all()


# Refusals


def test_paths_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("a sitting dog")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    for path, sentence in {
        "missing.png": "does not exist",
        "file/below.png": "does not exist",
        ".": "is a folder",
        "text.png": "not an image",
        "empty.png": "is empty",
        "pipe": "not a plain file",
        "nul\0.png": "cannot be read",
        "x" * 5000: "cannot be read",
    }.items():
        with pytest.raises(ImageError, match=sentence) as caught:
            read_image(f"{tmp_path}/{path}")
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["PPM", "TGA", "PCX", "EPS", "ICO", "JPEG2000", "PDF", "SGI"])
def test_formats_outside_the_list_are_refused(format: str) -> None:
    with pytest.raises(ImageError, match="not an image that imagic can read; give one of PNG, JPEG"):
        decode_image(encoded(Image.fromarray(RGB), format), "in.png")


def test_the_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = decode_error(png(8000, 8000))
    assert "damaged or truncated" in limit  # exactly 64 megapixels pass the check of the size
    for width, height in ((8001, 8000), (9600, 9600), (30000, 30000), (2**31 - 1, 2**31 - 1)):
        assert "more than 64 megapixels" in decode_error(png(width, height))
    with monkeypatch.context() as patch, warnings.catch_warnings():
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        warnings.simplefilter("error")
        assert "more than 64 megapixels" in decode_error(png(30000, 30000))


def decode_error(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    return str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(15, 40), (40, 15), (1, 1)])
def test_too_small(width: int, height: int) -> None:
    message = decode_error(encoded(Image.new("RGB", (width, height)), "PNG"))
    assert f"{width} x {height} pixels; both sides must have at least 16" in message
    with pytest.raises(ImageError, match="at least 16"):
        as_picture(np.zeros((height, width, 3), np.uint8))
    with pytest.raises(ImageError, match="at least 16"):
        as_picture(Image.new("RGB", (width, height)))


def test_arrays_and_pil_images_over_the_bound_are_refused() -> None:
    with pytest.raises(ImageError, match="64 megapixels"):
        as_picture(np.broadcast_to(np.uint8(0), (8001, 8000, 3)))


def test_sixteen_pixels_pass() -> None:
    assert decode_image(encoded(Image.new("RGB", (16, 16)), "PNG")).width == 16


def test_a_text_bomb_is_refused() -> None:
    raw = encoded(Image.fromarray(RGB), "PNG")
    body = b"imagic\0\0" + zlib.compress(b"a" * 50_000_000)
    bomb = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    at = raw.index(b"IDAT") - 4
    with pytest.raises(ImageError):
        decode_image(raw[:at] + bomb + raw[at:])


FILES = {
    "PNG": encoded(Image.fromarray(RGB), "PNG", icc_profile=swapped()),
    "JPEG": encoded(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "WEBP": encoded(rgba(), "WEBP"),
    "GIF": encoded(Image.fromarray(RGB).quantize(64), "GIF"),
    "BMP": encoded(Image.fromarray(RGB), "BMP"),
    "TIFF": encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    "AVIF": encoded(rgba(), "AVIF"),
}


@pytest.mark.parametrize("format", FILES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_truncated_files_are_refused_or_whole(format: str, data: st.DataObject) -> None:
    whole = FILES[format]
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        picture = decode_image(whole[:cut])
    except ImageError:
        return
    # What is not refused lacks only bytes behind the pixels.
    np.testing.assert_array_equal(picture.rgb, decode_image(whole).rgb)


@pytest.mark.parametrize("format", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_flipped_bytes_never_escape_the_error_family(format: str, data: st.DataObject) -> None:
    broken = bytearray(FILES[format])
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(broken)).rgb.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"BM"])
)
def test_garbage_is_refused(tail: bytes, head: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(head + tail)


# Python's own images


def test_arrays() -> None:
    np.testing.assert_array_equal(as_picture(RGB).rgb, RGB)
    np.testing.assert_array_equal(as_picture(GREY).rgb, np.dstack([GREY] * 3))
    np.testing.assert_array_equal(as_picture(GREY[:, :, None]).rgb, np.dstack([GREY] * 3))
    both = as_picture(np.dstack([RGB, ALPHA]))
    np.testing.assert_array_equal(both.rgb, RGB)
    np.testing.assert_array_equal(both.alpha, ALPHA)
    np.testing.assert_array_equal(as_picture(RGB.astype(np.float64) / 255).rgb, RGB)
    np.testing.assert_array_equal(as_picture(RGB.astype(np.uint16) * 257).rgb, RGB)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((2, 20, 20, 3), np.uint8), "must be"),
        (np.zeros((20, 20, 2), np.uint8), "must be"),
        (np.zeros((3, 20, 20), np.uint8), "must be"),
        (np.zeros((20, 20, 3), np.int64), "int64"),
        (np.full((20, 20, 3), 255.0), "outside 0 to 1"),
        (np.full((20, 20, 3), "dog"), "must be|values"),
    ],
)
def test_other_arrays_are_refused(array: Any, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        as_picture(array)


def test_the_callers_array_cannot_change_the_picture() -> None:
    mine = RGB.copy()
    picture = as_picture(mine)
    mine[:] = 0
    np.testing.assert_array_equal(picture.rgb, RGB)
    with pytest.raises(ValueError, match="read-only"):
        picture.rgb[0, 0, 0] = 1


def test_pil_images_and_pictures() -> None:
    picture = as_picture(rgba())
    np.testing.assert_array_equal(picture.alpha, ALPHA)
    assert picture.sha256 == ""
    assert as_picture(picture) is picture


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
)
def test_every_mode_of_pil(mode: str) -> None:
    picture = as_picture(Image.new(mode, (WIDTH, HEIGHT)))
    assert picture.rgb.shape == (HEIGHT, WIDTH, 3)


def test_the_pixels_hash_is_of_the_pixels() -> None:
    first = decode_image(encoded(Image.fromarray(RGB), "PNG"))
    again = decode_image(encoded(Image.fromarray(RGB), "BMP"))
    assert first.sha256 != again.sha256
    assert first.pixels_sha256 == again.pixels_sha256 == as_picture(RGB).pixels_sha256
    reshaped = as_picture(RGB.reshape(WIDTH, HEIGHT, 3))
    opaque = as_picture(np.dstack([RGB, np.full_like(ALPHA, 255)]))
    assert len({first.pixels_sha256, reshaped.pixels_sha256, opaque.pixels_sha256}) == 3


def test_a_picture_checks_its_arrays() -> None:
    with pytest.raises(ValueError):
        Picture(GREY)
    with pytest.raises(ValueError):
        Picture(RGB, ALPHA[:-1])
    with pytest.raises(ValueError):
        Picture(RGB.astype(np.float32))


def test_opening_decodes_nothing() -> None:
    image = open_image(png(8000, 8000), "in.png")  # its pixels are missing
    assert image.size == (8000, 8000)


def test_to_rgb_inverts_the_models_range() -> None:
    levels = torch.arange(256).reshape(1, 16, 16).expand(3, -1, -1)
    np.testing.assert_array_equal(to_rgb(levels / 127.5 - 1), levels.permute(1, 2, 0).numpy())
    assert to_rgb(torch.full((3, 1, 1), 7.0)).max() == 255
    assert to_rgb(torch.full((3, 1, 1), -7.0, dtype=torch.float16)).max() == 0
