"""Peak signal-to-noise ratio: the mean squared difference on a logarithmic scale, relative to the range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from imagic.core.types import Sample
from imagic.metrics.region import Reference, Region, reference_image, region_weight, weighted_mean

DATA_RANGE = 2.0  # images lie in [-1, 1]


@dataclass(frozen=True)
class PSNR:
    """10 log10(range^2 / mean squared difference) over channels and the region's pixels, in dB; range 2.

    Equal images give infinity. Raises NotAvailable for a missing truth, a missing mask or an empty region.
    """

    name: ClassVar[str] = "psnr"
    unit: ClassVar[str] = "dB"
    higher_is_better: ClassVar[bool] = True

    region: Region = Region.ALL
    reference: Reference = Reference.INPUT

    def __call__(self, sample: Sample) -> float:
        weight = region_weight(sample, self.region)
        difference = sample.image.to(torch.float64) - reference_image(sample, self.reference)
        error = weighted_mean(difference.square(), weight, self.region)
        return 10 * math.log10(DATA_RANGE**2 / error) if error else math.inf
