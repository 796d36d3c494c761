"""The losses of Text2LIVE (Bar-Tal et al., ECCV 2022, Sec. 3), over any core.encoder.Encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, normalize

from imagic.core.encoder import Encoder

# The screen of the authors' code: RGB (0, 177, 64) of 255.
GREEN = (-1.0, 2 * 177 / 255 - 1, 2 * 64 / 255 - 1)
STEEPNESS = 5.0  # of the pseudo-L0 norm
STILL = 1e-5  # below this length a difference of unit vectors is rounding in float32


@dataclass(frozen=True)
class Wanted:
    """The texts' embeddings, (1, D) of unit length: of the result, of its layer on a green screen, of the input."""

    target: Tensor
    screen: Tensor
    source: Tensor

    @staticmethod
    def of(encoder: Encoder, target_text: str, screen_text: str, source_text: str) -> Wanted:
        return Wanted(*(encoder.embed_texts([text]) for text in (target_text, screen_text, source_text)))


def composite(image: Tensor, layer: Tensor, opacity: Tensor) -> Tensor:
    """opacity * layer + (1 - opacity) * image, (B, 3, H, W); where the opacity is 0, the image bit for bit."""
    return image + opacity * (layer - image)


def on_screen(layer: Tensor, opacity: Tensor) -> Tensor:
    """The layer over plain green."""
    return composite(layer.new_tensor(GREEN).reshape(1, 3, 1, 1).expand_as(layer), layer, opacity)


def distance(embedding: Tensor, wanted: Tensor) -> Tensor:
    """1 - cosine, the mean over rows. embedding: (B, D), wanted: (1, D) or (B, D), both of unit length."""
    return (1 - (embedding * wanted).sum(1)).mean()


def direction(before: Tensor, after: Tensor, wanted: Wanted) -> Tensor:
    """1 - cosine of the ways that the image and the texts have gone, the mean over rows (B, D)."""
    return distance(_unit(after - before), _unit(wanted.target - wanted.source))


def _unit(way: Tensor) -> Tensor:
    """Rows of unit length; shorter ones than rounding, whose direction says nothing, stay short."""
    return normalize(way, dim=1, eps=STILL)


def structure(before: Tensor, after: Tensor) -> Tensor:
    """The mean squared difference of the cosine distances among patches. before, after: tokens (B, P, C)."""
    return (_self_similarity(after) - _self_similarity(before)).square().mean()


def _self_similarity(tokens: Tensor) -> Tensor:
    unit = normalize(tokens, dim=2)
    return unit @ unit.transpose(1, 2)


def sparsity(opacity: Tensor, l1_weight: float, l0_weight: float) -> Tensor:
    """L1 and a smooth L0, 2 sigmoid(5 a) - 1, of the opacity, as means over pixels."""
    smooth = 2 * torch.sigmoid(STEEPNESS * opacity) - 1
    return l1_weight * opacity.mean() + l0_weight * smooth.mean()


def views(images: Tensor, count: int, cover: float, flip: float, generator: torch.Generator) -> Tensor:
    """`count` random square crops of each image, resized to the image's size: (count * B, C, H, W).

    cover: the smallest side of a crop, of the image's. flip: the chance of being mirrored. The same crops for all
    images of the batch, so that what belongs together stays together.
    """
    scale = cover + (1 - cover) * torch.rand(count, generator=generator)
    room = 1 - scale
    shift = room[:, None] * (2 * torch.rand(count, 2, generator=generator) - 1)
    mirrored = torch.rand(count, generator=generator) < flip
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = torch.where(mirrored, -scale, scale), scale
    theta[:, :, 2] = shift
    grid = affine_grid(theta, [count, 1, *images.shape[-2:]], align_corners=False).to(images.device)
    rows = len(images)
    return grid_sample(
        images.repeat(count, 1, 1, 1), grid.repeat_interleave(rows, 0), padding_mode="reflection", align_corners=False
    )
