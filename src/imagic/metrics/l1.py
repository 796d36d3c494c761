"""Mean absolute difference: how far, on average, each channel of each pixel has moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from imagic.core.types import Sample
from imagic.metrics.region import Reference, Region, reference_image, region_weight, weighted_mean


@dataclass(frozen=True)
class L1:
    """Mean |image - reference| over channels and the region's pixels, in [0, 2] for images in [-1, 1].

    Raises NotAvailable for a missing truth, a missing mask or an empty region.
    """

    name: ClassVar[str] = "l1"
    unit: ClassVar[str] = "of 2"
    higher_is_better: ClassVar[bool] = False

    region: Region = Region.ALL
    reference: Reference = Reference.INPUT

    def __call__(self, sample: Sample) -> float:
        weight = region_weight(sample, self.region)
        difference = sample.image.to(torch.float64) - reference_image(sample, self.reference)
        return weighted_mean(difference.abs(), weight, self.region)
