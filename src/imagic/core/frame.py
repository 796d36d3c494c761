"""How a picture of any size meets a model's square, and how an edit made there returns to full size.

The picture (or a box of it) is fitted into the square and the rest filled with its own softened mirror image. On the
way back only the *difference* between the result and the model's own reconstruction of the input travels: where nothing
changed, the original pixels stay bit for bit, and only changed areas have the model's resolution.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from imagic.core.errors import ImageError, OptionError
from imagic.core.images import MIN_SIDE, Picture, Pixels
from imagic.core.masks import feathered

# Differences are local means of the RMS over channels, in the model's range [-1, 1] (0.1 is 12.75 of 255 levels).
# A VAE round trip of 34 dB has an RMS error of 0.04: two decodings may differ by so much without any edit. The dead
# zone ends at 1.5 times that, and the difference counts in full at 3 times.
DEAD_ZONE = 0.06
FULL_DIFFERENCE = 0.12
# What a Gaussian leaves of a difference is no noise of decoding. Where it exceeds the one in this share of the picture,
# the edit is of the whole picture, gentle as it may be (oil paint), and there is no dead zone.
COHERENT = 0.015
WHOLE = 0.9
# From here on the original's fine detail gives way too: a dog that moved away must not leave its fur on the grass.
FULL_RESULT = 0.30
# An edit that is cut off, by a crop or a mask, reaches its full weight over this share of the side: no seam.
FADE = 1 / 64

T = TypeVar("T", bound=np.generic)

_ROWS_AT_ONCE = 256  # bounds the memory of 64 megapixels of float32


class Box(NamedTuple):
    """A part of a picture, in its pixels."""

    left: int
    top: int
    width: int
    height: int

    @staticmethod
    def parse(text: str) -> Box:
        """A box from "left,top,width,height". Raises OptionError."""
        if not re.fullmatch(r"\s*[0-9]{1,6}\s*(,\s*[0-9]{1,6}\s*){3}", text, re.ASCII):
            raise OptionError(f"A crop is left,top,width,height in pixels, such as 10,20,300,300, not {text!r}.")
        return Box(*(int(part) for part in text.split(",")))


@dataclass(frozen=True)
class Frame:
    """Where a box of a picture of width x height pixels lies in a model's square of `side` pixels."""

    width: int
    height: int
    side: int
    box: Box

    def __post_init__(self) -> None:
        box = self.box
        if self.side < 1:
            raise OptionError(f"The model's side must be positive, not {self.side}.")
        if min(box.width, box.height) < MIN_SIDE:
            raise OptionError(
                f"The crop is {box.width} x {box.height}; both sides must have at least {MIN_SIDE} pixels."
            )
        if min(box.left, box.top) < 0 or box.left + box.width > self.width or box.top + box.height > self.height:
            raise OptionError(f"The crop {','.join(map(str, box))} does not lie within {self.width} x {self.height}.")

    @staticmethod
    def fit(picture: Picture, side: int, size_multiple: int = 1, crop: Box | None = None) -> Frame:
        """The frame of a picture, or of a crop of it, on a square of `side` pixels.

        Raises OptionError if side is no multiple of size_multiple or the crop does not lie within the picture.
        """
        if side < size_multiple or side % size_multiple:
            below = max(side // size_multiple, 1) * size_multiple
            raise OptionError(
                f"The size {side} is not a multiple of {size_multiple}; use {below} or {below + size_multiple}."
            )
        whole = Box(0, 0, picture.width, picture.height)
        return Frame(picture.width, picture.height, side, crop or whole)

    @property
    def inner(self) -> Box:
        """Where the box's pixels lie within the square; the rest is padding."""
        longest = max(self.box.width, self.box.height)
        width = max(1, round(self.side * self.box.width / longest))
        height = max(1, round(self.side * self.box.height / longest))
        return Box((self.side - width) // 2, (self.side - height) // 2, width, height)

    def to_model(self, picture: Picture) -> Tensor:
        """The model's view of the picture, (1, 3, side, side) in [-1, 1], float32. Transparent parts become white."""
        self._check(picture)
        box, inner = self.box, self.inner
        rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        image = Image.fromarray(np.ascontiguousarray(picture.rgb[rows, columns]))
        if picture.alpha is not None:
            alpha = Image.fromarray(np.ascontiguousarray(picture.alpha[rows, columns]))
            image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
        image = image.resize((inner.width, inner.height), Image.Resampling.LANCZOS)
        padded = _pad(np.asarray(image), inner, self.side)
        return torch.from_numpy(padded / np.float32(127.5) - 1).permute(2, 0, 1)[None].contiguous()

    def mask_to_model(self, plane: Pixels) -> Tensor:
        """The model's view of a mask of the picture, (H, W) in 0..255: (1, 1, side, side) in [0, 1], area means.

        It continues into the padding as the picture does.
        """
        box, inner = self.box, self.inner
        cut = plane[box.top : box.top + box.height, box.left : box.left + box.width]
        values = Image.fromarray(np.ascontiguousarray(cut, dtype=np.float32))
        shrunk = np.asarray(values.resize((inner.width, inner.height), Image.Resampling.BOX)) / np.float32(255)
        return torch.from_numpy(_mirrored(shrunk, inner, self.side))[None, None]

    def mask_to_picture(self, mask: Tensor) -> Pixels:
        """A mask (h, w) in [0, 1] over the model's square, of any size, at the picture's size: (H, W) in 0..255.

        Its cells keep their edges, so that it can be painted over and read back; outside the box it is 0.
        """
        inner, box = self.inner, self.box
        down, across = mask.shape[0] / self.side, mask.shape[1] / self.side
        part = (
            inner.left * across,
            inner.top * down,
            (inner.left + inner.width) * across,
            (inner.top + inner.height) * down,
        )
        levels = (mask.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
        cells = Image.fromarray(levels).resize((box.width, box.height), Image.Resampling.NEAREST, box=part)
        plane = np.zeros((self.height, self.width), np.uint8)
        plane[box.top : box.top + box.height, box.left : box.left + box.width] = np.asarray(cells)
        return plane

    def lay_over(
        self,
        picture: Picture,
        result: Tensor,
        reconstruction: Tensor,
        plain: bool = False,
        mask: Pixels | None = None,
        feather: float = 0.0,
    ) -> Picture:
        """The edit at the picture's full size; alpha, and all outside the box, are the original's.

        result, reconstruction: (3, side, side) in [-1, 1], the edited image and the model's own rendering of the input.
        plain: the enlarged result itself, instead of laying the difference over the original. mask: (H, W) in 0..255;
        where it is 0 the original's pixels stay, and the edit fades in over a little, or over `feather` of the side,
        from there. Raises ImageError if a tensor holds values that are not finite numbers.
        """
        self._check(picture)
        box = self.box
        edited, before = self._cut(result), self._cut(reconstruction)
        weights = torch.ones(2, *edited.shape[1:]) if plain else self._weights(edited - before)
        if mask is not None:
            # Where the mask is grey, the plane itself says so below; here it is only where the mask ends that counts.
            touched = (self.mask_to_model(mask)[0] > 0).float()
            weights = weights * self._inside(feathered(touched, max(feather, FADE)))
        rgb = np.array(picture.rgb)
        rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        target, allowed = rgb[rows, columns], None if mask is None else mask[rows, columns]
        for start in range(0, box.height, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, box.height)
            add, swap = (_enlarged(w, box, start, stop, Image.Resampling.BILINEAR) for w in weights)
            if allowed is not None:
                share = allowed[start:stop] / np.float32(255)
                add, swap = (np.multiply(weight, share, dtype=np.float32) for weight in (add, swap))
            for channel in range(3):
                old = target[start:stop, :, channel].astype(np.float32)
                difference = _enlarged(edited[channel] - before[channel], box, start, stop, Image.Resampling.BICUBIC)
                base = _enlarged(before[channel] + 1, box, start, stop, Image.Resampling.BICUBIC)
                # add = swap = 1 is the result, swap = 0 the original plus the difference, add = swap = 0 the original.
                new = old + add * (127.5 * difference) + swap * (127.5 * base - old)
                target[start:stop, :, channel] = np.rint(new).clip(0, 255).astype(np.uint8)
        return picture.with_rgb(rgb)

    def _check(self, picture: Picture) -> None:
        if (picture.width, picture.height) != (self.width, self.height):
            raise ValueError(
                f"this frame is for {self.width} x {self.height} pixels, not {picture.width} x {picture.height}"
            )

    def _cut(self, image: Tensor) -> Tensor:
        """The part of a model's image that is not padding, on the CPU."""
        if image.shape != (3, self.side, self.side):
            raise ValueError(f"expected (3, {self.side}, {self.side}), not {tuple(image.shape)}")
        if not bool(torch.isfinite(image).all()):
            raise ImageError("The model returned values that are not numbers; run it in float32.")
        return self._inside(image).detach().to("cpu", torch.float32).clamp(-1, 1)

    def _inside(self, image: Tensor) -> Tensor:
        """The part of (..., side, side) that is not padding."""
        inner = self.inner
        return image[..., inner.top : inner.top + inner.height, inner.left : inner.left + inner.width]

    def _weights(self, difference: Tensor) -> Tensor:
        """How far to add the difference, and how far to swap the original for the result: (2, h, w) in [0, 1].

        Averaging keeps single noisy pixels below the dead zone; the maximum around each pixel carries a change past its
        own outline, where the original's sharp edge would otherwise stay behind as a ghost.
        """
        sigma = max(self.side / 128, 0.5)
        change = _blurred(difference.square().mean(0).sqrt(), sigma)
        reach = round(2 * sigma)
        change = F.max_pool2d(change[None], 2 * reach + 1, stride=1, padding=reach)[0]
        coherent = torch.stack([_blurred(channel, sigma) for channel in difference]).square().mean(0).sqrt()
        whole = float((coherent > COHERENT).float().mean()) > WHOLE
        add = torch.ones_like(change) if whole else _ramp(change, DEAD_ZONE, FULL_DIFFERENCE)
        weights = torch.stack([add, _ramp(change, FULL_DIFFERENCE, FULL_RESULT)])
        return weights * self._fade(change.shape[0], change.shape[1], max(self.side * FADE, 1))

    def _fade(self, height: int, width: int, reach: float) -> Tensor:
        """Zero at the sides where the box cuts through the picture, one from `reach` pixels on: no seam at a crop."""
        box = self.box

        def side_by_side(length: int, cuts_start: bool, cuts_end: bool) -> Tensor:
            steps = torch.arange(length) / reach
            ones = torch.ones(length)
            start = steps.clamp(max=1) if cuts_start else ones
            end = steps.clamp(max=1).flip(0) if cuts_end else ones
            return torch.minimum(start, end)

        across = side_by_side(width, box.left > 0, box.left + box.width < self.width)
        down = side_by_side(height, box.top > 0, box.top + box.height < self.height)
        return down[:, None] * across[None, :]


def _pad(pixels: Pixels, inner: Box, side: int) -> npt.NDArray[np.float32]:
    """Pixels (h, w, 3) at `inner` in a square, surrounded by their mirror image, which blurs with the distance.

    Flat bars and smeared edges are unlike any photograph, and a sharp mirror image shows the model a second animal;
    out of focus it is neither. The pixels themselves are not touched.
    """
    mirrored = _mirrored(pixels, inner, side)
    soft = np.asarray(Image.fromarray(mirrored).filter(ImageFilter.GaussianBlur(side / 16)), dtype=np.float32)
    place = np.arange(side)
    beyond_x = np.maximum(inner.left - place, place - (inner.left + inner.width - 1))
    beyond_y = np.maximum(inner.top - place, place - (inner.top + inner.height - 1))
    distance = np.maximum(beyond_x[None, :], beyond_y[:, None]).clip(min=0)
    weight = (distance / (side / 16)).clip(max=1).astype(np.float32)[:, :, None]
    return (1 - weight) * mirrored.astype(np.float32) + weight * soft


def _mirrored(values: npt.NDArray[T], inner: Box, side: int) -> npt.NDArray[T]:
    """Values (h, w, ...) at `inner` in a square, surrounded by their mirror image."""
    right, bottom = side - inner.left - inner.width, side - inner.top - inner.height
    around = ((inner.top, bottom), (inner.left, right), *[(0, 0)] * (values.ndim - 2))
    return np.pad(values, around, mode="symmetric")


def _blurred(plane: Tensor, sigma: float) -> Tensor:
    """(h, w) under a Gaussian that ends at 3 sigma, so that what is zero far from any change stays exactly zero."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(plane[None, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None, :]), kernel[None, None, :, None])[0, 0]


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    """Exactly 0 up to `low`, exactly 1 from `high`, smooth between."""
    x = ((values - low) / (high - low)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _enlarged(plane: Tensor, box: Box, start: int, stop: int, filter: Image.Resampling) -> npt.NDArray[np.float32]:
    """Rows start..stop of a plane (h, w) brought to the box's size."""
    height, width = plane.shape
    rows = (0, start * height / box.height, width, stop * height / box.height)
    image = Image.fromarray(np.ascontiguousarray(plane.numpy(), dtype=np.float32))
    return np.asarray(image.resize((box.width, stop - start), filter, box=rows))
