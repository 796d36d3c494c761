"""Hostile files: sound ones of every format, made in memory, and what can be done to them.

Each strategy draws a few numbers, such as where a file is cut, and builds the bytes from them.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from benchmarks.hostile_values import STRANGE_JSON
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin, features

Bytes: TypeAlias = st.SearchStrategy[bytes]
# What a field of a length, an offset or a count is overwritten with.
EXTREMES = tuple(
    struct.pack(form, value)
    for form in ("<I", ">I")
    for value in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF0000, 65_536)
)
LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><x>&i;</x>"
)
ENDINGS = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "safetensors", "txt", "exe", "PNG", "")


def sound_pictures() -> dict[str, bytes]:
    """A small picture in each format and form that imagic reads."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    rgba, rgb = Image.fromarray(noise), Image.fromarray(noise[..., :3])
    grey, deep = rgb.convert("L"), Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a dog"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    turned = [rgb.rotate(angle) for angle in (90, 180)]
    made: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "png": (rgba, "PNG", {"exif": exif, "icc_profile": profile}),
        "png-palette": (rgb.quantize(16), "PNG", {"transparency": 3}),
        "png-16": (deep, "PNG", {}),
        "jpeg": (rgb, "JPEG", {"exif": exif, "icc_profile": profile}),
        "jpeg-progressive": (grey, "JPEG", {"progressive": True}),
        "jpeg-cmyk": (rgb.convert("CMYK"), "JPEG", {}),
        "webp": (rgba, "WEBP", {"exif": exif, "icc_profile": profile}),
        "webp-moving": (rgba, "WEBP", {"save_all": True, "append_images": turned, "lossless": True}),
        "gif": (rgb, "GIF", {"save_all": True, "append_images": turned, "duration": 50}),
        "bmp": (rgb, "BMP", {}),
        "tiff": (rgba, "TIFF", {"compression": "tiff_lzw", "icc_profile": profile}),
        "tiff-deflate": (rgb, "TIFF", {"compression": "tiff_deflate"}),
        "tiff-16": (deep, "TIFF", {}),
        "tiff-float": (Image.fromarray(noise[..., 0].astype(np.float32) / 255), "TIFF", {}),
    }
    if features.check("avif"):
        made["avif"] = (rgb, "AVIF", {"exif": exif, "icc_profile": profile})
    return {name: encoded(image, format, **how) for name, (image, format, how) in made.items()}


def encoded(image: Image.Image, format: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **how)
    return file.getvalue()


def truncated(data: bytes) -> Bytes:
    return st.integers(0, len(data) - 1).map(lambda stop: data[:stop])


def flipped(data: bytes) -> Bytes:
    """A few bits, at the head of the file as often as anywhere."""
    place = st.one_of(st.integers(0, min(len(data), 256) * 8 - 1), st.integers(0, len(data) * 8 - 1))

    def flip(bits: list[int]) -> bytes:
        changed = bytearray(data)
        for bit in bits:
            changed[bit // 8] ^= 1 << (bit % 8)
        return mended(bytes(changed))

    return st.lists(place, min_size=1, max_size=8).map(flip)


def overwritten(data: bytes) -> Bytes:
    """Four bytes replaced by such as make a length impossible."""

    def put(place: int, value: bytes) -> bytes:
        return mended(data[:place] + value + data[place + 4 :])

    return st.builds(put, st.integers(0, max(0, min(len(data) - 4, 600))), st.sampled_from(EXTREMES))


def spliced(one: bytes, other: bytes) -> Bytes:
    """The head of one file and the tail of another."""
    return st.builds(lambda head, tail: one[:head] + other[tail:], st.integers(0, len(one)), st.integers(0, len(other)))


def damaged(files: Mapping[str, bytes]) -> dict[str, Bytes]:
    """What can happen to any file, by kind."""
    one = st.sampled_from(sorted(files)).map(files.__getitem__)
    return {
        "truncated": one.flatmap(truncated),
        "flipped bits": one.flatmap(flipped),
        "overwritten lengths": one.flatmap(overwritten),
        "spliced": st.tuples(one, one).flatmap(lambda two: spliced(*two)),
        "noise": st.binary(max_size=512),
    }


def hostile_pictures() -> dict[str, Bytes]:
    """Files that claim to be pictures, by kind; "sound" ones among them, which must be read."""
    pictures = sound_pictures()
    return {
        "sound": st.sampled_from(sorted(pictures)).map(pictures.__getitem__),
        **damaged(pictures),
        "absurd size": st.builds(claiming, st.sampled_from(sorted(CLAIMS)), SIDES, SIDES),
        "bomb": st.one_of(
            st.builds(flat_png, st.integers(7000, 8000), st.integers(7000, 8000), st.sampled_from((1, 8))),
            st.builds(text_bomb, st.sampled_from((b"zTXt", b"iTXt", b"iCCP")), st.integers(2, 64)),
        ),
        "huge metadata": st.builds(laden, st.sampled_from(sorted(LOADS)), st.integers(1, 40)),
        "not finite": st.builds(float_tiff, st.sampled_from(STRANGE), st.integers(1, 24 * 32)),
    }


def chunk(kind: bytes, data: bytes) -> bytes:
    """One of a PNG's."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mended(data: bytes) -> bytes:
    """A PNG with right checksums, so that damage gets past them; other files as they are."""
    if not data.startswith(SIGNATURE):
        return data
    place, parts = 8, [SIGNATURE]
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if place + 12 + size > len(data):
            break
        parts.append(chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    return b"".join(parts) + data[place:]


def png(width: int, height: int, pixels: bytes, *further: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """further: chunks before the pixels, which are compressed already."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return SIGNATURE + head + b"".join(further) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def flat_png(width: int, height: int, depth: int) -> bytes:
    """A kilobyte or some that is a real picture of up to 64 megapixels, all black."""
    packer, row = zlib.compressobj(9), bytes(1 + (width * depth + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png(width, height, pixels, depth=depth)


def text_bomb(kind: bytes, megabytes: int) -> bytes:
    """A compressed chunk of text or colour profile that unpacks to so much."""
    packed = zlib.compress(bytes(megabytes << 20), 9)
    head = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\x01\0\0\0", b"iCCP": b"profile\0\0"}[kind]
    return png(24, 24, zlib.compress(bytes(25 * 24)), chunk(kind, head + packed))


SIDES = st.one_of(
    st.sampled_from((0, 1, 15, 16, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)), st.integers(0, 2**32 - 1)
)
# Files of a few bytes whose head names a size.
CLAIMS: dict[str, Callable[[int, int], bytes]] = {
    "png": lambda width, height: png(width, height, zlib.compress(bytes(100))),
    "gif": lambda width, height: (
        b"GIF89a"
        + struct.pack("<HHBBB", width & 0xFFFF, height & 0xFFFF, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, width & 0xFFFF, height & 0xFFFF, 0)
        + b"\x02\x02L\x01\0;"
    ),
    "bmp": lambda width, height: (
        b"BM" + struct.pack("<IHHIIIIHHIIIIII", 70, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(16)
    ),
    "jpeg": lambda width, height: _jpeg_with_size(width & 0xFFFF, height & 0xFFFF),
    "webp": lambda width, height: (
        b"RIFF"
        + struct.pack("<I", 22)
        + b"WEBPVP8X"
        + struct.pack("<II", 10, 0)
        + struct.pack("<I", width & 0xFFFFFF)[:3]
        + struct.pack("<I", height & 0xFFFFFF)[:3]
    ),
    "tiff": lambda width, height: _tiff_with_size(width, height),
}


def claiming(format: str, width: int, height: int) -> bytes:
    return CLAIMS[format](width, height)


def _jpeg_with_size(width: int, height: int) -> bytes:
    data = encoded(Image.new("RGB", (16, 16)), "JPEG")
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def _tiff_with_size(width: int, height: int) -> bytes:
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, height),
        (279, 4, 64),
    ]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4 + 64)


PLAIN = zlib.compress(bytes(25 * 24))
# Metadata of so many quarter megabytes.
LOADS: dict[str, Callable[[int], bytes]] = {
    "exif in png": lambda size: png(24, 24, PLAIN, chunk(b"eXIf", b"II*\0" + bytes(size << 18))),
    "profile in png": lambda size: png(
        24, 24, PLAIN, chunk(b"iCCP", b"p\0\0" + zlib.compress(np.random.default_rng(size).bytes(size << 18), 1))
    ),
    "text in png": lambda size: png(24, 24, PLAIN, chunk(b"tEXt", b"imagic\0" + b"[" * (size << 18))),
    "many chunks": lambda size: png(24, 24, PLAIN, *[chunk(b"tEXt", b"k%d\0v" % index) for index in range(size * 500)]),
    "xmp in png": lambda size: png(
        24, 24, PLAIN, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LAUGHS.encode() * size)
    ),
    "segments in jpeg": lambda size: _with_segments(0xE1, b"Exif\0\0II*\0" + bytes(65_000), size * 4),
    "profile in jpeg": lambda size: _with_segments(0xE2, b"ICC_PROFILE\0\x01\xff" + bytes(65_000), size * 4),
    "comment in gif": lambda size: encoded(Image.new("L", (24, 24)), "GIF", comment=b"x" * (size << 18)),
    "record in png": lambda size: with_record({"schema_version": 1, "target_text": "x" * (size << 10)}),
}


def laden(what: str, size: int) -> bytes:
    return LOADS[what](size)


def _with_segments(marker: int, data: bytes, count: int) -> bytes:
    jpeg = encoded(Image.new("RGB", (24, 24)), "JPEG")
    return jpeg[:2] + (bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data) * count + jpeg[2:]


def with_record(record: Mapping[str, Any]) -> bytes:
    """A PNG that claims to be an edit."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("imagic", json.dumps(record))
    return encoded(Image.new("RGB", (24, 24)), "PNG", pnginfo=texts)


STRANGE = (float("nan"), float("inf"), float("-inf"), -1.0, 3.4e38, 1e-40)


def float_tiff(value: float, count: int) -> bytes:
    """Pixels of 32-bit floats, so many of them strange."""
    pixels = np.linspace(0, 1, 24 * 32, dtype=np.float32)
    pixels[:count] = value
    return encoded(Image.fromarray(pixels.reshape(24, 32)), "TIFF")


def with_records(record: Mapping[str, Any]) -> Bytes:
    """PNGs with the record of a real edit, one field of which is strange."""

    def put(name: str, value: Any) -> bytes:
        return with_record({**record, name: value})

    return st.builds(put, st.sampled_from([*sorted(record), "unknown"]), STRANGE_JSON)


def safetensors(header: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    """size: what the file says of its header's length, if not the truth."""
    return struct.pack("<Q", (len(header) if size is None else size) & (2**64 - 1)) + header + data


def malformed_safetensors(data: bytes) -> Bytes:
    """Of a sound file: another header, or another length of it."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    tensors = [name for name in header if name != "__metadata__"]

    def changed(name: str, field: str, value: Any) -> bytes:
        entry = {**header[name], field: value}
        return safetensors(json.dumps({**header, name: entry}).encode(), body)

    fields = st.sampled_from(("dtype", "shape", "data_offsets"))
    values = st.one_of(
        st.sampled_from(("F64", "BF16", "X9", [2**62, 2**62], [-1], [0], [0, 2**63], [10, 0], [0, 0])), STRANGE_JSON
    )
    sizes = st.sampled_from((0, 1, size - 1, size + 1, 2**24, 2**31, 2**32, 2**63, 2**64 - 1))
    heads = st.sampled_from(
        (
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"a":' * 5000,
            b"{}",
            b'{"__metadata__":{"format":1}}',
            b'{"__metadata__":null}',
            b'{"\xff":1}',
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
            b'"data_offsets":[0,4]}}',
            b" " * 1_000_000 + b"{}",
        )
    )
    return st.one_of(
        st.builds(changed, st.sampled_from(tensors), fields, values),
        sizes.map(lambda claimed: safetensors(json.dumps(header).encode(), body, claimed)),
        heads.map(lambda head: safetensors(head, body)),
    )
