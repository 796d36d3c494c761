"""Fréchet distance between two sets of images as Gaussians in feature space (Heusel et al., NeurIPS 2017)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.types import Features


class FID:
    """|mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), at least 0; covariances over n - 1.

    Biased upwards for small sets: only sets of equal size and the same extractor compare. Raises NotAvailable for a set
    of fewer than two images.
    """

    name: ClassVar[str] = "fid"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False

    def __call__(self, images: Features, references: Features) -> float:
        if min(len(images.values), len(references.values)) < 2:
            raise NotAvailable("FID needs at least two images in each set: run more items.")
        mean_x, root_x = _gaussian(images.values)
        mean_y, root_y = _gaussian(references.values)
        # With S = R^T R, Tr (S1 S2)^(1/2) is the sum of the singular values of R1 R2^T: no root of a singular matrix.
        shared = torch.linalg.svdvals(root_x @ root_y.mT).sum()
        distance = (mean_x - mean_y).square().sum() + root_x.square().sum() + root_y.square().sum() - 2 * shared
        return max(float(distance), 0.0)


def _gaussian(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of values (N, D), and R (min(N, D), D) with R^T R their covariance."""
    mean = values.mean(0)
    root = torch.linalg.qr(values - mean, mode="r").R / math.sqrt(len(values) - 1)
    return mean, root
