"""Kernel distance between two sets of images (Bińkowski et al., Demystifying MMD GANs, ICLR 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.types import Features

BLOCK = 1024  # rows of the kernel matrix held at once


class KID:
    """The unbiased estimate of the squared MMD with the kernel (x . y / D + 1)^3; 0 on average for sets of one kind, so
    that it may be negative. All pairs are used and nothing is drawn at random (the paper averages random subsets).

    Raises NotAvailable for a set of fewer than two images.
    """

    name: ClassVar[str] = "kid"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False

    def __call__(self, images: Features, references: Features) -> float:
        x, y = images.values, references.values
        if min(len(x), len(y)) < 2:
            raise NotAvailable("KID needs at least two images in each set: run more items.")
        return float(_within(x) + _within(y) - 2 * _between(x, y) / (len(x) * len(y)))


def _kernel(products: Tensor, dimension: int) -> Tensor:
    return (products / dimension + 1) ** 3


def _between(x: Tensor, y: Tensor) -> Tensor:
    """The kernel summed over all pairs."""
    return torch.stack([_kernel(rows @ y.mT, x.shape[1]).sum() for rows in torch.split(x, BLOCK)]).sum()


def _within(x: Tensor) -> Tensor:
    """The mean of the kernel over pairs of different images of one set."""
    selves = _kernel(x.square().sum(1), x.shape[1]).sum()
    return (_between(x, x) - selves) / (len(x) * (len(x) - 1))
