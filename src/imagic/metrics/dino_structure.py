"""DINO structure distance (Tumanyan et al., Splice, CVPR 2022; as in PIE-Bench).

The keys of a self-supervised vision transformer's last layer say what each patch is a part of. How alike the patches of
one image are to each other is its layout, whatever its colours; the distance is between two such tables.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.pretrained import load_model, load_processor, pixel_values
from imagic.metrics.region import Reference, reference_image
from imagic.metrics.weights import locate


@dataclass(frozen=True)
class DINOStructure:
    """The mean squared difference of the two images' tables of cosines between keys; 0 for equal layouts.

    The keys of all heads are joined, and the class token is one of the patches, as in Splice. Both images are prepared
    as the model's folder says (for DINO: 224 x 224, so that a picture that is not square is squeezed).
    Raises NotAvailable without the weights, or for a missing truth.
    """

    name: ClassVar[str] = "dino-structure"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False
    weights_name: ClassVar[str] = "dino"

    reference: Reference = Reference.INPUT
    weights: Path | None = None

    def __call__(self, sample: Sample) -> float:
        model, processor, keys = _load(locate(self.weights_name, self.weights), sample.image.device)
        images = torch.stack([sample.image, reference_image(sample, self.reference)])
        similarity = self_similarity(_keys(model, keys, pixel_values(processor, images)))
        return float((similarity[0] - similarity[1]).square().mean())


def self_similarity(keys: Tensor) -> Tensor:
    """The cosine of each pair of keys: (B, T, D) to (B, T, T)."""
    unit = normalize(keys, dim=2)
    return unit @ unit.mT


@torch.no_grad()
def _keys(model: Any, layer: nn.Module, pixels: Tensor) -> Tensor:
    """The keys (B, T, D) that `layer` computes while the model looks at the pixels."""
    caught: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    try:
        model(pixel_values=pixels, interpolate_pos_encoding=True)
    finally:
        handle.remove()
    return caught[0]


@functools.lru_cache(maxsize=2)
def _load(folder: Path, device: torch.device) -> tuple[Any, Any, nn.Module]:
    """The model, how it wants its pictures, and the key projection of its last layer."""
    model = load_model(folder, device)
    # Its name has changed between versions of transformers.
    keys = [module for name, module in model.named_modules() if name.rpartition(".")[2] in ("key", "k_proj")]
    if model.config.model_type != "vit" or not keys:
        raise NotAvailable(f"'{folder}' holds a {type(model).__name__}: give the folder of a DINO ViTModel.")
    return model, load_processor(folder), keys[-1]
