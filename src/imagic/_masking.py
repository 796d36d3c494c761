"""A mask in an edit: where it comes from, what of it the method sees, and what of the result it lets through.

A method that works within masks (its options are MaskOptions) gets the user's, or finds its own; for any other the mask
decides only what of the finished result is laid over the original.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from imagic.core.errors import AbilityError, ImageError, OptionError
from imagic.core.frame import Frame
from imagic.core.images import Picture, Source
from imagic.core.masks import Mask, as_mask, into_state
from imagic.core.options import build_options
from imagic.core.provenance import portable
from imagic.core.text_mask import EMPTY, MaskOptions, find_masks
from imagic.core.types import Ability, Backbone, EditResult, Method, Progress, State

Crop: TypeAlias = tuple[int, int, int, int]
MaskSource: TypeAlias = "Literal['auto'] | Source | Mask"

MASK_OPTIONS = frozenset(field.name for field in dataclasses.fields(MaskOptions))


def works_within_masks(method: Method) -> bool:
    """Whether a method finds and uses masks itself."""
    return issubclass(method.EditOptions, MaskOptions)


@dataclass(frozen=True, eq=False)
class Masking:
    """A mask that was asked for. given: the user's, in the picture's size; None for one that the texts give. by_method:
    whether the method works within it."""

    options: MaskOptions
    given: Mask | None
    by_method: bool

    def into(self, state: State, frame: Frame) -> State:
        """The state that the method edits from: with the user's mask in it, if the method works within masks."""
        if self.given is None or not self.by_method:
            return state
        return into_state(state, frame.mask_to_model(self.given.plane))

    def onto(
        self, result: EditResult, backbone: Backbone, image: Tensor, text: str, source_text: str, seed: int
    ) -> Generator[Progress, None, EditResult]:
        """The result with the mask that the texts give, where the method does not find it. image: as the model sees it.

        Raises AbilityError as `search_mask`.
        """
        if self.given is not None or self.by_method:
            return result
        mask = yield from search_mask(backbone, image, text, source_text, seed, self.options)
        warnings = result.warnings if bool(mask.any()) else [*result.warnings, EMPTY]
        return dataclasses.replace(result, mask=mask, warnings=warnings)

    def lay_over(self, frame: Frame, picture: Picture, image: Tensor, result: EditResult, plain: bool) -> Picture:
        """The edit at the picture's size, as Frame.lay_over has it, and nothing of it outside the mask."""
        mask = self.used(frame, result).plane
        if self.given is None or self.by_method:
            # Its greys have done their work already, or are those of its feather, which is drawn finer below.
            mask = np.where(mask > 0, np.uint8(255), np.uint8(0))
        feather = 0.0 if self.by_method else self.options.mask_feather
        return frame.lay_over(picture, image, result.reconstruction, plain, mask, feather)

    def used(self, frame: Frame, result: EditResult) -> Mask:
        """The mask of a result in the picture's size."""
        if self.given is None:
            return of_result(frame, result)
        return self.given.inverted() if self.options.mask_invert else self.given

    def facts(self) -> dict[str, Any]:
        """The fields of a record."""
        given = self.given
        return {
            "mask": "auto" if given is None else "given",
            "mask_sha256": "" if given is None else given.sha256,
            "mask_pixels_sha256": "" if given is None else given.pixels_sha256,
            "mask_options": portable(dataclasses.asdict(self.options)),
        }


def masking(
    mask: MaskSource | None, method: Method, values: Mapping[str, Any], picture: Picture, crop: Crop | None
) -> Masking | None:
    """What a mask, and the options of masks among `values`, ask for; None without a mask. crop: see `fit`.

    Raises ImageError for what cannot be a mask of the picture, OptionError for options that have no mask to shape.
    """
    of_masks = {name: value for name, value in values.items() if name in MASK_OPTIONS}
    if mask is None:
        if of_masks and not works_within_masks(method):
            raise OptionError(f"There is no mask that {', '.join(of_masks)} could shape: ask for one with mask.")
        return None
    options = build_options(MaskOptions, of_masks)
    given = None if isinstance(mask, str) and mask == "auto" else _read(mask, picture, crop, options.mask_invert)
    return Masking(options, given, works_within_masks(method))


def _read(mask: Source | Mask, picture: Picture, crop: Crop | None, invert: bool) -> Mask:
    """The user's mask, not yet inverted. Raises ImageError as core.masks.as_mask, and where it lets nothing change."""
    given = as_mask(mask, picture)
    left, top, width, height = crop or (0, 0, picture.width, picture.height)
    cut = given.plane[top : top + height, left : left + width]
    if (cut == (255 if invert else 0)).all():
        colour, other = ("white", "black") if invert else ("black", "white")
        where = "of the mask" if crop is None else "of the mask within the crop"
        raise ImageError(f"All {where} is {colour}, so nothing could change: paint {other} what may change.")
    return given


def search_mask(
    backbone: Backbone, image: Tensor, text: str, source_text: str, seed: int, options: MaskOptions
) -> Generator[Progress, None, Tensor]:
    """The mask of two texts, (1, 1, h, w) on the latent grid. image: (1, 3, side, side) in [-1, 1].

    Raises AbilityError for a model that gives no unconditional prediction.
    """
    if Ability.GUIDANCE not in backbone.abilities:
        raise AbilityError(f"The model '{backbone.name}' cannot find a mask, which needs guidance: give a mask file.")
    z0 = backbone.encode(image)
    target, source, null = (backbone.encode_text([each]) for each in (text, source_text, ""))
    reference = null if options.mask_reference == "empty" else source
    mask = yield from find_masks(backbone, z0, target, reference, null, [seed], options)
    return mask.cpu()


def of_result(frame: Frame, result: EditResult) -> Mask:
    """The first mask of a result that has one, in the picture's size."""
    if result.mask is None:
        raise ValueError("this result has no mask")
    return Mask(frame.mask_to_picture(result.mask[0, 0]))
