"""Feature extractors for metrics over sets: CLIP, an image model of transformers, or a TorchScript file."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.images import to_rgb
from imagic.core.types import Extractor
from imagic.metrics.clip import WEIGHTS, load_clip
from imagic.metrics.pretrained import load_model, load_processor, pixel_values
from imagic.metrics.weights import locate

BATCH = 32


def extract(extractor: Extractor, images: Iterable[Tensor]) -> Tensor:
    """The features (N, D), float64, on the CPU, of images (3, H, W) in [-1, 1] of any sizes, in their order.

    Raises NotAvailable without any image.
    """
    features = [extractor(batch).to("cpu", torch.float64) for batch in _batches(images)]
    if not features:
        raise NotAvailable("There are no images to compare: run the benchmark first.")
    return torch.cat(features)


def _batches(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """Neighbours of one size, up to BATCH together."""
    batch: list[Tensor] = []
    for image in images:
        if batch and (len(batch) == BATCH or image.shape != batch[0].shape):
            yield torch.stack(batch)
            batch = []
        batch.append(image)
    if batch:
        yield torch.stack(batch)


@dataclass(frozen=True)
class CLIPFeatures:
    """CLIP's image embeddings, of unit length; the same weights as the CLIP metrics'."""

    name: ClassVar[str] = "clip"
    weights_name: ClassVar[str] = WEIGHTS

    weights: Path | None = None

    def __call__(self, images: Tensor) -> Tensor:
        return load_clip(self.weights_name, self.weights, images.device).embed_images(images)


@dataclass(frozen=True)
class ImageModel:
    """The last layer of any image model in a transformers folder: its class token where it has one (DINO, ViT), else
    the mean over patches or positions (ResNet, ConvNeXt, Swin)."""

    name: ClassVar[str] = "image-model"
    weights_name: ClassVar[str] = "image-model"

    weights: Path | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        model, processor = _load_model(locate(self.weights_name, self.weights), images.device)
        last: Tensor = model(pixel_values=pixel_values(processor, images)).last_hidden_state
        if last.dim() == 4:  # (B, C, h, w)
            return last.mean((2, 3))
        has_class_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())
        return last[:, 0] if has_class_token else last.mean(1)


@dataclass(frozen=True)
class TorchScript:
    """Whatever a TorchScript file computes, such as the Inception network of published FIDs.

    Such a file is a program, and running it is the user's decision: the weights' name says so. It is called with
    8-bit images, uint8 (B, 3, H, W) in 0..255, which it resizes itself, and with return_features=True where it has that
    argument. Raises NotAvailable when it cannot be loaded, fails, or does not give (B, D).
    """

    name: ClassVar[str] = "torchscript"
    weights_name: ClassVar[str] = "trusted-torchscript"

    weights: Path | None = None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        path = locate(self.weights_name, self.weights)
        program = _load_program(path, images.device)
        pixels = torch.stack([torch.from_numpy(to_rgb(image)).permute(2, 0, 1) for image in images]).to(images.device)
        takes_flag = any(argument.name == "return_features" for argument in program.forward.schema.arguments)
        try:
            features = program(pixels, return_features=True) if takes_flag else program(pixels)
        except (RuntimeError, torch.jit.Error) as error:
            reason = str(error).strip().splitlines()[-1]
            raise NotAvailable(f"'{path.name}' fails on 8-bit images (B, 3, H, W): {reason}") from error
        if not isinstance(features, Tensor) or features.dim() != 2 or len(features) != len(images):
            raise NotAvailable(f"'{path.name}' does not give one feature vector per image: give a feature extractor.")
        return features


@functools.lru_cache(maxsize=2)
def _load_model(folder: Path, device: torch.device) -> tuple[Any, Any]:
    model = load_model(folder, device)
    if model.config.model_type == "clip":
        raise NotAvailable(f"'{folder}' holds a CLIPModel: use the extractor 'clip', whose weights are named 'clip'.")
    return model, load_processor(folder)


@functools.lru_cache(maxsize=2)
def _load_program(path: Path, device: torch.device) -> Any:
    try:
        return torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise NotAvailable(f"'{path}' is not a TorchScript file that torch can load: save it again.") from error
