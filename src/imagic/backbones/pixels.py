"""Pictures for a network of pixels: its latents are smaller pictures, and the same ones where there is no cascade."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 3


class Pixels:
    """factor: pixels per pixel of the network along a side. device: where the network is."""

    def __init__(self, factor: int, device: torch.device) -> None:
        self.factor, self._device = factor, device

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [-1, 1] to the means of its squares (B, 3, H / factor, W / factor), float32."""
        return F.avg_pool2d(image.to(self._device, torch.float32), self.factor)

    def decode(self, z: Tensor) -> Tensor:
        """Smaller pictures to an image in [-1, 1], enlarged smoothly, without details; float32."""
        z = z.to(self._device)
        if self.factor > 1:
            z = F.interpolate(z, scale_factor=self.factor, mode="bicubic")
        return z.float().clamp(-1, 1)
