"""Where a metric looks (all, edited, kept) and what it compares with (the input or the true edit).

Both are chosen apart from the metric, so that every metric has the same axes. A question without an answer, such as the
kept part of an image that may change everywhere, raises NotAvailable: it is never counted as 0.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample


class Region(StrEnum):
    """The part of the image that is measured."""

    ALL = "all"
    EDITED = "edited"  # weight = sample.region
    KEPT = "kept"  # weight = 1 - sample.region


class Reference(StrEnum):
    """The image that is compared with."""

    INPUT = "input"
    TRUTH = "truth"


def reference_image(sample: Sample, reference: Reference) -> Tensor:
    """The image to compare with, (3, H, W) float64.

    Raises NotAvailable when the sample has no truth, ValueError when the sizes differ.
    """
    image = sample.input if reference is Reference.INPUT else sample.truth
    if image is None:
        raise NotAvailable("The true edit of this image is not known: compare with the input instead.")
    if image.shape != sample.image.shape:
        raise ValueError(f"images differ in shape: {tuple(sample.image.shape)} and {tuple(image.shape)}")
    return image.to(sample.image.device, torch.float64)


def region_weight(sample: Sample, region: Region) -> Tensor:
    """The weight of each pixel, (1, H, W) float64 in [0, 1].

    Raises NotAvailable when the sample has no region, or when nothing lies in it.
    """
    height, width = sample.image.shape[-2:]
    if region is Region.ALL:
        return torch.ones(1, height, width, dtype=torch.float64, device=sample.image.device)
    if sample.region is None:
        raise NotAvailable(f"The region '{region}' needs a mask of what may change: give one, or measure 'all'.")
    if sample.region.shape != (1, height, width):
        raise ValueError(f"the mask has shape {tuple(sample.region.shape)}, not {(1, height, width)}")
    mask = sample.region.to(sample.image.device, torch.float64)
    weight = mask if region is Region.EDITED else 1 - mask
    if not weight.sum() > 0:
        raise NotAvailable(f"The region '{region}' of this image is empty: measure 'all' instead.")
    return weight


def weighted_mean(values: Tensor, weight: Tensor, region: Region) -> float:
    """The mean over channels and pixels of values (C, h, w) under weight (1, h, w).

    Raises NotAvailable when all of the weight lies outside the map (windows of SSIM do not reach the border).
    """
    total = weight.sum() * values.shape[0]
    if not total > 0:
        raise NotAvailable(f"The region '{region}' lies wholly where this metric has no value: measure 'all' instead.")
    return float((values * weight).sum() / total)
