"""Directional CLIP similarity (Gal et al., StyleGAN-NADA, SIGGRAPH 2022; the measure of InstructPix2Pix).

Whether the image moved, in CLIP's space, the way that the text moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.clip import WEIGHTS, load_clip

STILL = 1e-5  # below this length a difference of unit vectors is rounding in float32


@dataclass(frozen=True)
class CLIPDirectional:
    """The cosine of E(result) - E(input) and E(target text) - E(source text), all E of unit length; in [-1, 1].

    Raises NotAvailable without the weights or a source text, or when image or text has not moved at all: a direction
    that is not there agrees with none.
    """

    name: ClassVar[str] = "clip-directional"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    weights_name: ClassVar[str] = WEIGHTS

    weights: Path | None = None

    def __call__(self, sample: Sample) -> float:
        clip = load_clip(self.weights_name, self.weights, sample.image.device)
        if not (sample.source_text and sample.target_text):
            raise NotAvailable("Directional CLIP similarity needs a source text and a target text: give both.")
        images = clip.embed_images(torch.stack([sample.image, sample.input.to(sample.image)]))
        texts = clip.embed_texts([sample.target_text, sample.source_text])
        return float((_direction(images, "image") * _direction(texts, "text")).sum())


def _direction(pair: Tensor, what: str) -> Tensor:
    difference = pair[0] - pair[1]
    length = float(difference.norm())
    if length < STILL:
        raise NotAvailable(f"The {what} has not moved in CLIP's space, so it has no direction to compare.")
    return difference / length
