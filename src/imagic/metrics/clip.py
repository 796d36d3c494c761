"""CLIP (Radford et al., ICML 2021) as metrics use it: pictures and texts as vectors of unit length in one space."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from imagic.core.errors import NotAvailable
from imagic.metrics.pretrained import load_model, load_processor, load_tokenizer, pixel_values
from imagic.metrics.weights import locate

WEIGHTS = "clip"


@dataclass(frozen=True)
class CLIP:
    """A loaded model with its tokenizer and its way to prepare pictures."""

    model: Any
    tokenizer: Any
    processor: Any

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to (B, D), float32, of unit length."""
        pooled = self.model.vision_model(pixel_values=pixel_values(self.processor, images)).pooler_output
        return normalize(self.model.visual_projection(pooled), dim=1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts to (B, D), float32, of unit length. What is beyond the model's length is cut off."""
        length = min(self.tokenizer.model_max_length, self.model.config.text_config.max_position_embeddings)
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        pooled = self.model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return normalize(self.model.text_projection(pooled), dim=1)


def load_clip(name: str, weights: Path | None, device: torch.device) -> CLIP:
    """The CLIP in `weights`, else in the folder of that name, see metrics.weights.

    Raises NotAvailable when there is none, or when the folder does not hold a whole CLIPModel.
    """
    return _load(locate(name, weights), device)


@functools.lru_cache(maxsize=2)
def _load(folder: Path, device: torch.device) -> CLIP:
    model = load_model(folder, device)
    if model.config.model_type != "clip":
        raise NotAvailable(f"'{folder}' holds a {type(model).__name__}: give the folder of a CLIPModel.")
    return CLIP(model, load_tokenizer(folder), load_processor(folder))
