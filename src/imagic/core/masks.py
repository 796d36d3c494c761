"""Masks: where an edit may change a picture. White (1) may change, black (0) stays.

A mask is softened inwards only, so that what was black stays untouched however wide the feather is.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from imagic.core.errors import ImageError, OutputError
from imagic.core.files import check_writable, replacing
from imagic.core.images import Picture, Pixels, Source, as_picture
from imagic.core.types import State

# Levels of 255 that are black or white after all: JPEG leaves its ringing around every edge.
NEARLY = 16
# A pixel whose channels differ by more is coloured; a picture with more such pixels than this share is no mask.
COLOURED = 48
MOST_COLOURED = 0.01
# A mask whose proportions differ from the picture's by more is stretched, which is worth a word.
STRETCH = 0.1

_STATE_KEY = "mask"


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask of a picture, in its size.

    plane: (H, W) uint8, 255 = may change. sha256: of the file's bytes, empty if it does not come from a file;
    pixels_sha256: of the picture that was given, before it was brought to this size; empty where `as_mask` has not seen
    the mask yet. notes: plain sentences.
    """

    plane: Pixels
    sha256: str = ""
    pixels_sha256: str = ""
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """How much of the picture may change, from 0 to 1."""
        return float(self.plane.mean() / 255)

    def inverted(self) -> Mask:
        """What may change stays, and the other way round."""
        return Mask(255 - self.plane, notes=self.notes)

    def to_pil(self) -> Image.Image:
        """A Pillow image in mode L."""
        return Image.fromarray(self.plane)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the mask as PNG, to look at, paint over and give back. Raises OutputError as `check_mask_output`."""
        check_mask_output(path, overwrite)
        with replacing(path, overwrite) as part:
            self.to_pil().save(part, "PNG")


def check_mask_output(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The path, if a mask may be written to it; raises OutputError if it does not end in .png (other formats would
    alter the mask), and as core.files.check_writable."""
    target = check_writable(path, overwrite)
    if target.suffix.lower() != ".png":
        raise OutputError(f"{target.name} must end in .png, since other formats would alter the mask.")
    return target


def as_mask(source: Source | Mask, picture: Picture) -> Mask:
    """A mask of the picture from an image of any size, as core.images.as_picture reads it; transparent is black.

    It is stretched over the picture by area means; of a Mask, only the size is looked at. Raises ImageError for what is
    no image, and for a picture in colours, which is no mask.
    """
    size = (picture.width, picture.height)
    if isinstance(source, Mask):
        if source.plane.shape != size[::-1]:
            raise ImageError(f"The mask was made for another picture than this one of {size[0]} x {size[1]} pixels.")
        # The hash of the file that `save` would write, by which a redo knows it.
        pixels_sha256 = source.pixels_sha256 or Picture(np.dstack([source.plane] * 3)).pixels_sha256
        return dataclasses.replace(source, pixels_sha256=pixels_sha256)
    given = as_picture(source)
    spread = given.rgb.max(axis=2) - given.rgb.min(axis=2)
    if (spread > COLOURED).mean() > MOST_COLOURED:
        raise ImageError("The mask is a picture in colours; give one in black and white, white where it may change.")
    grey = Image.fromarray(given.rgb).convert("L")
    if given.alpha is not None:
        grey = Image.composite(grey, Image.new("L", grey.size, 0), Image.fromarray(given.alpha))
    notes = given.notes
    if abs(given.width * size[1] / (given.height * size[0]) - 1) > STRETCH:
        shapes = f"The mask is {given.width} x {given.height} pixels, the picture {size[0]} x {size[1]}"
        notes = (*notes, f"{shapes}: the mask was stretched.")
    plane = np.array(grey.resize(size, Image.Resampling.BOX))
    plane[plane <= NEARLY] = 0
    plane[plane >= 255 - NEARLY] = 255
    return Mask(plane, given.sha256, given.pixels_sha256, notes)


def feathered(mask: Tensor, share: float) -> Tensor:
    """A mask (..., H, W) that rises over `share` of its longer side, from its edge inwards, to its full value.

    The mean over erosions by 0, 1, 2, ... pixels: 0 stays exactly 0, and the sides of the image are no edge.
    """
    reach = max(1, round(share * max(mask.shape[-2:])))
    total, eroded = mask.clone(), mask.reshape(-1, 1, *mask.shape[-2:])
    for _ in range(reach - 1):
        eroded = -F.max_pool2d(-eroded, 3, stride=1, padding=1)
        total += eroded.reshape(mask.shape)
    return total / reach


def to_latent(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask (N, 1, H, W) on the latent grid, (N, 1, height, width): a cell may change as much as any pixel in it."""
    return F.adaptive_max_pool2d(mask, (height, width))


def into_state(state: State, mask: Tensor | None) -> State:
    """The state with a mask (1, 1, H, W) in [0, 1], at the model's size, for its edits; as it is for None."""
    if mask is None:
        return state
    return dataclasses.replace(state, tensors={**state.tensors, _STATE_KEY: mask.to(torch.float32).cpu()})


def of_state(state: State) -> Tensor | None:
    """The mask (1, 1, H, W) that `into_state` put there, if any."""
    return state.tensors.get(_STATE_KEY)
