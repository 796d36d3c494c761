"""Styles: what makes a plain render look like a pencil sketch, an oil painting or pixel art. Batched image filters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
PIXEL_ART_BLOCKS = 32  # blocks along the image's side


def apply_style(images: Tensor, style: str) -> Tensor:
    """images (B, 3, H, W) in [0, 1], plain renders, to the same in `style`."""
    match style:
        case "pencil sketch":
            return pencil_sketch(images)
        case "oil painting":
            return oil_painting(images)
        case "pixel art":
            return pixel_art(images)
        case _:
            return images


def _luma(images: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, device=images.device, dtype=images.dtype)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def _edges(images: Tensor) -> Tensor:
    """How much the picture changes around each pixel: (B, 1, H, W)."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (dx.square() + dy.square()).sum(1, keepdim=True).sqrt()


def pencil_sketch(images: Tensor) -> Tensor:
    """Coloured pencil on paper: pale colours, dark outlines along edges, diagonal hatching in the dark."""
    line = ((_edges(images) - 0.13) * 2.4).clamp(0, 0.75)
    luma = _luma(images)
    side = images.shape[-1]
    grid = torch.arange(side, device=images.device) * (128.0 / side)
    hatch = torch.sin((grid[None, :] + grid[:, None]) * 0.8)
    pale = 0.50 + 0.44 * luma + 0.46 * (images - luma)
    return ((pale + 0.035 * hatch * (1 - luma)) * (1 - line)).clamp(0, 1)


def oil_painting(images: Tensor) -> Tensor:
    """Kuwahara's filter: each pixel takes the mean of its calmest quadrant of four; then bolder colour, and canvas."""
    side = images.shape[-1]
    radius = max(2, round(side * 3 / 128))
    window = radius + 1
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    means = F.avg_pool2d(padded, window, stride=1)  # (B, 3, H + radius, W + radius)
    luma = _luma(padded)
    spread = F.avg_pool2d(luma.square(), window, stride=1) - F.avg_pool2d(luma, window, stride=1).square()
    corners = [(0, 0), (0, radius), (radius, 0), (radius, radius)]
    quadrants = torch.stack([means[..., i : i + side, j : j + side] for i, j in corners])
    calm = torch.stack([spread[..., i : i + side, j : j + side] for i, j in corners]).argmin(0, keepdim=True)
    painted = quadrants.gather(0, calm.expand(1, *quadrants.shape[1:]))[0]
    grey = _luma(painted)
    bold = grey + 1.35 * (painted - grey)
    grid = torch.arange(side, device=images.device) * (128.0 / side)
    stroke = torch.sin(grid[None, :] * 0.9 + 2.2 * torch.sin(grid[:, None] * 0.33)) * torch.sin(grid[:, None] * 0.8)
    return (bold + 0.045 * stroke).clamp(0, 1)


def pixel_art(images: Tensor) -> Tensor:
    """Large square pixels, few levels per colour, and dark outlines as sprites have them."""
    side, blocks = images.shape[-1], (PIXEL_ART_BLOCKS, PIXEL_ART_BLOCKS)
    outline = F.interpolate(((_edges(images) - 0.12) * 3).clamp(0, 1), size=blocks, mode="area")
    small = F.interpolate(images, size=blocks, mode="area") * (1 - 0.75 * outline)
    few = (small * 12).round() / 12
    return F.interpolate(few, size=(side, side), mode="nearest")
