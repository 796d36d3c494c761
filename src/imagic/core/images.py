"""Pictures from files of any kind, as sRGB pixels, and back into files.

What a file holds is decided by its content, never by its name, and its size is checked before a pixel is decoded.
Colour profiles, palettes, CMYK, 16 bits, EXIF orientation and animation all end as 8-bit sRGB and, where there is one,
alpha.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageCms
from torch import Tensor

from imagic.core.errors import ImageError
from imagic.core.gif import comment_bytes

Pixels: TypeAlias = npt.NDArray[np.uint8]
Source: TypeAlias = "str | os.PathLike[str] | Image.Image | npt.NDArray[np.generic] | Picture"

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
MAX_COMMENT = 1 << 20  # bytes, of a GIF
MAX_BYTES = 1 << 30  # 64 Mpx of 16-bit RGBA, uncompressed, are half of this

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODE_OF_PROFILE = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture at full size: upright, sRGB, 8 bits.

    rgb: (H, W, 3) uint8, read-only. alpha: (H, W) uint8, 255 = opaque, or None where the file has none.
    sha256: of the file's bytes, hexadecimal; empty if it does not come from a file. format: Pillow's name of the file's
    format ("PNG", "JPEG", ...), or empty. notes: plain sentences on what could not be honoured.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    sha256: str = ""
    format: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rgb, alpha = self.rgb, self.alpha
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"rgb must be uint8 (H, W, 3), not {rgb.dtype} {rgb.shape}")
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != rgb.shape[:2]):
            raise ValueError(f"alpha must be uint8 {rgb.shape[:2]}, not {alpha.dtype} {alpha.shape}")
        for name, plane in (("rgb", rgb), ("alpha", alpha)):
            if plane is not None and plane.flags.writeable:
                view = plane.view()
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @functools.cached_property
    def pixels_sha256(self) -> str:
        """Hash of size, colours and alpha: the same for one picture in any lossless file."""
        digest = hashlib.sha256(f"{self.width}x{self.height}".encode())
        for plane in (self.rgb, self.alpha):
            digest.update(b"-" if plane is None else np.ascontiguousarray(plane).tobytes())
        return digest.hexdigest()

    def with_rgb(self, rgb: Pixels) -> Picture:
        """The same alpha over other colours; no longer any file's picture."""
        return Picture(rgb, self.alpha)

    def to_pil(self) -> Image.Image:
        """A Pillow image in mode RGB, or RGBA if there is alpha."""
        image = Image.fromarray(self.rgb)
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image


def read_image(path: str | os.PathLike[str]) -> Picture:
    """The picture in a file.

    Raises ImageError if there is no such file, it is a folder, not a supported image, damaged or truncated, over 64
    megapixels, or under 16 pixels on a side.
    """
    return decode_image(read_bytes(path), Path(path).name)


def decode_image(data: bytes, name: str = "The image") -> Picture:
    """The picture in the bytes of a file; `name` is what error messages call it. Raises ImageError as `read_image`."""
    picture = _from_pil(open_image(data, name), name)
    return dataclasses.replace(picture, sha256=hashlib.sha256(data).hexdigest())


def as_picture(source: Source) -> Picture:
    """A picture from a path, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Arrays are uint8 in 0..255, uint16 in 0..65535 or floats in [0, 1]. Raises ImageError.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, os.PathLike)):
        return read_image(source)
    if isinstance(source, Image.Image):
        _check_size(*source.size, "The image")
        return _from_pil(source, "The image")
    return _from_array(np.asarray(source))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes, at most 1 GiB. Raises ImageError if it does not exist or is not a plain file."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder; name an image file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path} is not a plain file; name an image file.")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{path} is larger than 1 GiB; give a smaller image.")
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"{path} does not exist; check the name.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(path)!r} cannot be read ({error}); check the name and its permissions.") from error


def open_image(data: bytes, name: str) -> Image.Image:
    """A Pillow image of checked format and size, its pixels not yet decoded. Raises ImageError."""
    if not data:
        raise ImageError(f"{name} is empty; give an image file.")
    if comment_bytes(data) > MAX_COMMENT:
        raise ImageError(f"{name} holds more than {MAX_COMMENT >> 20} MiB of comments; save it without them.")
    try:
        with quietly():
            image = Image.open(io.BytesIO(data), formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(name)) from error
    except Exception as error:  # decoders raise almost anything on damaged files
        known = ", ".join(format.replace("WEBP", "WebP") for format in _formats())
        raise ImageError(f"{name} is not an image that imagic can read; give one of {known}.") from error
    _check_size(*image.size, name)
    return image


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within: Pillow's warnings about odd files are dropped, and the one about decompression bombs is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def to_rgb(image: Tensor) -> Pixels:
    """A model's image (3, H, W) in [-1, 1] as 8-bit pixels (H, W, 3), rounded to nearest."""
    levels = (image.detach().to("cpu", torch.float32).clamp(-1, 1) + 1) * 127.5
    pixels: Pixels = levels.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return pixels


def _formats() -> tuple[str, ...]:
    """The allowed formats that this build of Pillow can open."""
    Image.init()
    return tuple(format for format in FORMATS if format in Image.OPEN)


def _too_large(name: str) -> str:
    return f"{name} has more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller first."


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(name))
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name} is {width} x {height} pixels; both sides must have at least {MIN_SIDE}.")


def _from_pil(image: Image.Image, name: str) -> Picture:
    try:
        with quietly():
            image.load()
    except Exception as error:  # decoders raise almost anything on damaged files
        raise ImageError(f"{name} is damaged or truncated; give an intact copy.") from error
    format = {"MPO": "JPEG"}.get(image.format or "", image.format or "")  # phones put a second picture behind a JPEG
    profile = image.info.get("icc_profile")
    turn = _TURNS.get(_orientation(image))
    colours, alpha = _split_alpha(image, name)
    colours, notes = _to_srgb(colours, profile, name)
    if turn is not None:
        colours = colours.transpose(turn)
        alpha = None if alpha is None else alpha.transpose(turn)
    return Picture(np.asarray(colours), None if alpha is None else np.asarray(alpha), format=format, notes=notes)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 (upright) where the EXIF block is missing or damaged."""
    try:
        with quietly():
            return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block is no reason to refuse sound pixels
        return 1


def _split_alpha(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Colours in an 8-bit mode without palette or alpha, and the alpha, if the image has any."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image, name)
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("1", "L", "LA") else "RGBA")
        return image.convert(image.mode[:-1]), image.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _eight_bits(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Grey of 16 bits (0..65535) or floats (0..1), scaled; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if np.issubdtype(values.dtype, np.integer) and values.min() >= 0 and values.max() <= 0xFFFF:
        values = values.astype(np.uint16)
    elif values.dtype.kind != "f":
        raise ImageError(f"{name} has 32 bits per colour; save it with 8 or 16 bits first.")
    alpha = None
    if isinstance(key := image.info.get("transparency"), int):
        alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.fromarray(_scaled(values, name)), alpha


def _scaled(values: npt.NDArray[np.generic], name: str) -> Pixels:
    """uint8 as it is, uint16 from 0..65535, floats from [0, 1]; rounded to nearest."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8)
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.kind != "f":
        raise ImageError(f"{name} holds {values.dtype} values; give uint8, uint16, or floats from 0 to 1.")
    floats = values.astype(np.float32)
    if not bool(((floats >= 0) & (floats <= 1)).all()):  # also false for NaN
        raise ImageError(f"{name} holds floating-point values outside 0 to 1; scale them or save it with 8 bits first.")
    return np.rint(floats * 255).astype(np.uint8)


def _from_array(values: npt.NDArray[np.generic]) -> Picture:
    name = "The array"
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4):
        raise ImageError(f"An image array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {values.shape}.")
    _check_size(values.shape[1], values.shape[0], name)
    pixels = _scaled(values, name)
    rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[:, :, :3])
    return Picture(rgb, np.ascontiguousarray(pixels[:, :, 3]) if pixels.shape[2] == 4 else None)


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Mode RGB in sRGB. A profile that is damaged or meant for other colours is ignored, and a note says so."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = _MODE_OF_PROFILE[source.profile.xcolor_space.strip()]
            if mode == "RGB" and image.mode == "L":
                image = image.convert("RGB")
            if mode != image.mode:
                raise ImageCms.PyCMSError(f"a {mode} profile on {image.mode} pixels")
            transform = _transform(source, mode)
            if mode == "RGB" and _moves_nothing(transform):
                return image, ()
            return ImageCms.applyTransform(image, transform) or image, ()
        except (ImageCms.PyCMSError, OSError, KeyError, ValueError):
            colours, _ = _to_srgb(image, None, name)
            return colours, (f"The colour profile of {name} cannot be used and was ignored.",)
    if image.mode == "LAB":
        return ImageCms.applyTransform(
            image, _transform(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")
        ) or image, ()
    return image.convert("RGB"), ()


def _transform(source: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    # Exact for displays and cameras, and for inks what photo editors do; the perceptual intent would crush blacks.
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)


def _moves_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether no colour of a coarse cube moves by more than one level: sRGB under another name.

    Its pixels are then left alone, since passing them through rounding tables would change some by one.
    """
    axis = np.linspace(0, 255, 16).astype(np.uint8)
    cube = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(16, -1, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return int(np.abs(moved.astype(int) - cube).max()) <= 1
