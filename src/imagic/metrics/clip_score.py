"""CLIP score: how well the result fits the target text (Hessel et al., EMNLP 2021, without their factor 2.5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.clip import WEIGHTS, load_clip


@dataclass(frozen=True)
class CLIPScore:
    """The cosine of the result and the target text, in [-1, 1].

    Raises NotAvailable without the weights or without a text.
    """

    name: ClassVar[str] = "clip-score"
    unit: ClassVar[str] = "cosine"
    higher_is_better: ClassVar[bool] = True
    weights_name: ClassVar[str] = WEIGHTS

    weights: Path | None = None

    def __call__(self, sample: Sample) -> float:
        clip = load_clip(self.weights_name, self.weights, sample.image.device)
        if not sample.target_text:
            raise NotAvailable("The CLIP score needs a target text: give one.")
        image, text = clip.embed_images(sample.image.unsqueeze(0)), clip.embed_texts([sample.target_text])
        return float((image * text).sum())
