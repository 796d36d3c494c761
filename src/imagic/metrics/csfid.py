"""Class-conditional simplified Fréchet distance (FlexIT, Couairon et al., CVPR 2022; used by DiffEdit)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.types import Features


class CSFID:
    """Per class of the images, the squared distance of the mean features of images and references; the mean over
    classes. Covariances are left out, since a class has too few images for one.

    Raises NotAvailable when a set has no classes, or the references lack a class of the images.
    """

    name: ClassVar[str] = "csfid"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False

    def __call__(self, images: Features, references: Features) -> float:
        means, wanted = _means(images), _means(references)
        if missing := sorted(means.keys() - wanted.keys()):
            raise NotAvailable(f"CSFID has no reference image of the class '{missing[0]}': add some.")
        distances = [(mean - wanted[group]).square().sum() for group, mean in means.items()]
        return float(torch.stack(distances).mean())


def _means(features: Features) -> Mapping[str, Tensor]:
    if not features.groups:
        raise NotAvailable("CSFID needs the class of each image: use FID for images without classes.")
    rows: dict[str, list[Tensor]] = {}
    for group, values in zip(features.groups, features.values, strict=True):
        rows.setdefault(group, []).append(values)
    return {group: torch.stack(values).mean(0) for group, values in rows.items()}
