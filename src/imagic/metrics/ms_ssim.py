"""Multi-scale structural similarity (Wang, Simoncelli and Bovik, Asilomar 2003).

Contrast and structure are compared at five scales, each half the size of the one before, and luminance at the last;
the means are multiplied, each to the power that its scale had in the paper's experiment with viewers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.region import Reference, Region, reference_image, region_weight, weighted_mean
from imagic.metrics.ssim import RADIUS, components

POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first (section 3.2)


@dataclass(frozen=True)
class MSSSIM:
    """Multi-scale structural similarity in [0, 1], 1 for equal images; windows and constants are SSIM's.

    The mask of a region is halved with the images; see SSIM for what a window near its edge sees. A negative mean at
    some scale counts as 0. powers: one per scale; fewer scales serve smaller images, but are another measure.
    Raises NotAvailable for a missing truth or mask, an empty region, or an image under 176 pixels (for five scales).
    """

    name: ClassVar[str] = "ms-ssim"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    region: Region = Region.ALL
    reference: Reference = Reference.INPUT
    powers: tuple[float, ...] = POWERS

    def __call__(self, sample: Sample) -> float:
        weight = region_weight(sample, self.region)
        smallest = (2 * RADIUS + 1) * 2 ** (len(self.powers) - 1)
        if min(sample.image.shape[-2:]) < smallest:
            raise NotAvailable(f"MS-SSIM needs images of at least {smallest} pixels a side: use SSIM on smaller ones.")
        x, y = sample.image.to(torch.float64), reference_image(sample, self.reference)
        similarity = 1.0
        for scale, power in enumerate(self.powers):
            if scale:
                x, y, weight = (functional.avg_pool2d(each, 2) for each in (x, y, weight))
            luminance, contrast = components(x, y)
            values = luminance * contrast if scale == len(self.powers) - 1 else contrast
            mean = weighted_mean(values, weight[:, RADIUS:-RADIUS, RADIUS:-RADIUS], self.region)
            similarity *= max(mean, 0.0) ** power
        return similarity
