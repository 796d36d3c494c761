"""Learned perceptual image patch similarity (Zhang et al., CVPR 2018), version 0.1.

Both images pass a classifier's convolutions. At five depths the features of each pixel are scaled to unit length, and
their squared differences are weighed by one learned number per channel, averaged over pixels and summed over depths.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d, relu

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.region import Reference, Region, reference_image, region_weight
from imagic.metrics.weights import locate

# The paper's code: ImageNet's mean and deviation, for images in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10


@dataclass(frozen=True)
class Stage:
    """Convolutions with a ReLU each, up to a depth that is compared.

    convolutions: their numbers in torchvision's `features`. pool: side of the max-pooling window (stride 2) before
    them, 0 for none.
    """

    convolutions: tuple[int, ...]
    pool: int = 0
    stride: int = 1
    padding: int = 1


ALEX = (Stage((0,), stride=4, padding=2), Stage((3,), 3, padding=2), Stage((6,), 3), Stage((8,)), Stage((10,)))
VGG = (Stage((0, 2)), Stage((5, 7), 2), Stage((10, 12, 14), 2), Stage((17, 19, 21), 2), Stage((24, 26, 28), 2))


@dataclass(frozen=True)
class LPIPS:
    """The distance, 0 for equal images; the network and its weights come from a subclass.

    weights: a safetensors file, or a folder of several, with torchvision's tensors (`features.0.weight`, ...) and the
    paper's linear heads (`lin0.model.1.weight`, ...). In a region, each depth counts its pixels by the mask averaged to
    its grid; features near the edge of the region also see beyond it.
    Raises NotAvailable for missing or wrong weights, a missing truth or mask, an empty region, or too small an image.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False
    weights_name: ClassVar[str]
    stages: ClassVar[tuple[Stage, ...]]
    smallest: ClassVar[int]  # the smallest side of which the last depth still has a pixel

    region: Region = Region.ALL
    reference: Reference = Reference.INPUT
    weights: Path | None = None

    @torch.no_grad()
    def __call__(self, sample: Sample) -> float:
        tensors = _load(locate(self.weights_name, self.weights), self.stages, sample.image.device)
        weight = region_weight(sample, self.region).unsqueeze(0)
        if min(sample.image.shape[-2:]) < self.smallest:
            raise NotAvailable(f"{self.name} needs images of at least {self.smallest} pixels a side: use larger ones.")
        images = torch.stack([sample.image.to(torch.float64), reference_image(sample, self.reference)]).float()
        distance = 0.0
        for depth, features in enumerate(_features(images, tensors, self.stages)):
            unit = features / (features.square().sum(1, keepdim=True).sqrt() + EPSILON)
            differences = conv2d((unit[:1] - unit[1:]).square(), tensors[_head(depth)]).double()
            shares = interpolate(weight, differences.shape[-2:], mode="area")
            distance += float((differences * shares).sum() / shares.sum())
        return distance


@dataclass(frozen=True)
class AlexLPIPS(LPIPS):
    """LPIPS over AlexNet: the variant to report, as its authors say."""

    name: ClassVar[str] = "lpips-alex"
    weights_name: ClassVar[str] = "lpips-alex"
    stages: ClassVar[tuple[Stage, ...]] = ALEX
    smallest: ClassVar[int] = 31


@dataclass(frozen=True)
class VGGLPIPS(LPIPS):
    """LPIPS over VGG-16."""

    name: ClassVar[str] = "lpips-vgg"
    weights_name: ClassVar[str] = "lpips-vgg"
    stages: ClassVar[tuple[Stage, ...]] = VGG
    smallest: ClassVar[int] = 16


def _features(images: Tensor, tensors: Mapping[str, Tensor], stages: tuple[Stage, ...]) -> list[Tensor]:
    """The features (B, C, h, w) at the end of each stage; images (B, 3, H, W) in [-1, 1]."""
    x = (images - images.new_tensor(SHIFT).reshape(-1, 1, 1)) / images.new_tensor(SCALE).reshape(-1, 1, 1)
    features = []
    for stage in stages:
        if stage.pool:
            x = max_pool2d(x, stage.pool, stride=2)
        for number in stage.convolutions:
            kernel, bias = (tensors[name] for name in _convolution(number))
            x = relu(conv2d(x, kernel, bias, stage.stride, stage.padding))
        features.append(x)
    return features


def _convolution(number: int) -> tuple[str, str]:
    return f"features.{number}.weight", f"features.{number}.bias"


def _head(depth: int) -> str:
    return f"lin{depth}.model.1.weight"


@functools.lru_cache(maxsize=2)
def _load(path: Path, stages: tuple[Stage, ...], device: torch.device) -> Mapping[str, Tensor]:
    """The tensors of the stages and their heads, float32. Raises NotAvailable when one is missing or does not fit."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    try:
        found = {name: tensor for file in files for name, tensor in _read(file)}
        tensors: dict[str, Tensor] = {}
        for depth, stage in enumerate(stages):
            for number in stage.convolutions:
                tensors |= {name: found[name].to(device, torch.float32) for name in _convolution(number)}
            tensors[_head(depth)] = found[_head(depth)].to(device, torch.float32)
            last = tensors[_convolution(stage.convolutions[-1])[0]]
            if tensors[_head(depth)].shape != (1, len(last), 1, 1):
                raise NotAvailable(f"'{path}' holds the linear heads of another network: give those of this one.")
    except (SafetensorError, OSError) as error:
        raise NotAvailable(f"'{path}' cannot be read as safetensors ({error}): convert the weights again.") from error
    except KeyError as error:
        raise NotAvailable(f"'{path}' lacks the tensor {error}: give the weights of this network.") from error
    return tensors


def _read(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The convolutions and heads in a file; its classifier, which is most of it, is passed over."""
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            if name.startswith(("features.", "lin")):
                yield name, file.get_tensor(name)
