"""CLIP image similarity: how much of what CLIP sees in the input is still there (as in DreamBooth, CVPR 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from imagic.core.types import Sample
from imagic.metrics.clip import WEIGHTS, load_clip
from imagic.metrics.region import Reference, reference_image


@dataclass(frozen=True)
class CLIPImage:
    """The cosine of the result and the reference, in [-1, 1]; 1 for equal images.

    Raises NotAvailable without the weights, or for a missing truth.
    """

    name: ClassVar[str] = "clip-image"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    weights_name: ClassVar[str] = WEIGHTS

    reference: Reference = Reference.INPUT
    weights: Path | None = None

    def __call__(self, sample: Sample) -> float:
        clip = load_clip(self.weights_name, self.weights, sample.image.device)
        image, reference = clip.embed_images(torch.stack([sample.image, reference_image(sample, self.reference)]))
        return float((image * reference).sum())
