"""Structural similarity (Wang et al., IEEE TIP 2004): local means, variances and covariance in Gaussian windows.

The settings are the paper's: an 11 x 11 window with sigma 1.5, K1 0.01, K2 0.03, population variances; colour channels
are averaged. As in scikit-image, windows that would cross the border are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.region import Reference, Region, reference_image, region_weight, weighted_mean

DATA_RANGE = 2.0  # images lie in [-1, 1]
SIGMA = 1.5
RADIUS = 5  # an 11 x 11 window
K1, K2 = 0.01, 0.03


@dataclass(frozen=True)
class SSIM:
    """Mean structural similarity, at most 1 (equal images).

    In a region, each window counts by the weight of its centre, so a window near the edge of the region also sees
    pixels beyond it. Raises NotAvailable for a missing truth or mask, an empty region, or an image under 11 pixels.
    """

    name: ClassVar[str] = "ssim"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    region: Region = Region.ALL
    reference: Reference = Reference.INPUT

    def __call__(self, sample: Sample) -> float:
        weight = region_weight(sample, self.region)
        if min(sample.image.shape[-2:]) < 2 * RADIUS + 1:
            raise NotAvailable(f"SSIM needs images of at least {2 * RADIUS + 1} pixels a side: use a larger image.")
        values = ssim_map(sample.image.to(torch.float64), reference_image(sample, self.reference))
        return weighted_mean(values, weight[:, RADIUS:-RADIUS, RADIUS:-RADIUS], self.region)


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Eq. 13 of the paper at each window that lies within the image: (C, H, W) float64 to (C, H - 10, W - 10)."""
    luminance, contrast = components(x, y)
    return luminance * contrast


def components(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance (eq. 6) and the contrast times structure (eqs. 9 and 10 with C3 = C2 / 2) of each window, shaped as
    in `ssim_map`."""
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def _blur(x: Tensor) -> Tensor:
    """Each channel under the Gaussian window, without padding."""
    offset = torch.arange(-RADIUS, RADIUS + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    rows = functional.conv2d(x.unsqueeze(1), kernel.reshape(1, 1, -1, 1))
    return functional.conv2d(rows, kernel.reshape(1, 1, 1, -1)).squeeze(1)
