"""Text2LIVE's generator: a U-Net with narrow skips (as in Deep Image Prior, Ulyanov et al. 2018) from a picture to an
edit layer and its opacity."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

SKIP = 4  # channels that pass from each scale to its counterpart
GROUPS = 4
SMALLEST = 4  # pixels a side at the deepest scale


class LayerGenerator(nn.Module):
    """Picture (B, 3, H, W) in [-1, 1] to the layer (B, 3, H, W) in [-1, 1] and its opacity (B, 1, H, W) in [0, 1].

    width: channels, a multiple of 4. scales: halvings of the side, as far as the deepest has 4 pixels.
    """

    def __init__(self, width: int, scales: int) -> None:
        super().__init__()
        before = [3] + [width] * (scales - 1)
        self.down = nn.ModuleList(
            nn.Sequential(_layer(channels, width, 3, stride=2), _layer(width, width, 3)) for channels in before
        )
        self.skip = nn.ModuleList(_layer(channels, SKIP, 1) for channels in before)
        self.up = nn.ModuleList(nn.Sequential(_layer(width + SKIP, width, 3), _layer(width, width, 1)) for _ in before)
        self.out = nn.Conv2d(width, 4, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        depth = min(len(self.down), max(1, int(math.log2(min(image.shape[-2:]) / SMALLEST))))
        x, passed = image, []
        for down, skip in zip(self.down[:depth], self.skip[:depth], strict=True):
            passed.append(skip(x))
            x = down(x)
        for up, beside in zip(self.up[:depth], passed[::-1], strict=True):
            x = up(torch.cat([interpolate(x, beside.shape[-2:], mode="bilinear", align_corners=False), beside], dim=1))
        layer = torch.sigmoid(self.out(x))
        return 2 * layer[:, :3] - 1, layer[:, 3:]


def _layer(before: int, after: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, side, stride, padding=side // 2, padding_mode="reflect" if side > 1 else "zeros"),
        nn.GroupNorm(GROUPS, after),
        nn.LeakyReLU(0.2),
    )
