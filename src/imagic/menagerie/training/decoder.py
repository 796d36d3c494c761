"""A second training of the autoencoder's decoder alone: sharper pictures from the same latents.

The encoder stays as it is to the bit, so whatever was trained in its latents (the judge, the diffusion
model) stays valid.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from imagic.menagerie.training.vae import Pictures, picture_loss, round_trip_sheet

# Of the logarithm of a picture's squared error, which is its PSNR: a pencil sketch then counts as much as any other
# picture, where the plain mean sees little but sketches. Pulls about twice as hard as the absolute error.
LOG_WEIGHT = 0.05


class DecoderTask:
    """Reconstruction of fresh renders with a frozen encoder."""

    name = "decoder"

    def __init__(self, vae: AutoencoderKL, device: torch.device | str = "cpu") -> None:
        self.vae, self.device = vae.requires_grad_(False), device
        self.parts: dict[str, nn.Module] = {"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder}
        for part in self.parts.values():
            part.requires_grad_(True)
        self.pictures = Pictures(device)

    def networks(self) -> dict[str, nn.Module]:
        return self.parts

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        images = self.pictures.of(step, batch)
        with torch.no_grad():
            posterior = self.vae.encode(images).latent_dist
        mean, std = posterior.mean.float(), posterior.std.float()
        latents = mean + std * torch.randn(mean.shape, generator=noise).to(mean.device)
        decoded = self.vae.decode(latents).sample.float()
        loss, values = picture_loss(decoded, images)
        return loss + LOG_WEIGHT * (decoded - images).square().mean((1, 2, 3)).log().mean(), values

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        return round_trip_sheet(self._with(networks), self.device)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        self._with(networks).to(torch.float16).save_pretrained(folder)

    def _with(self, networks: Mapping[str, nn.Module]) -> AutoencoderKL:
        """A copy of the autoencoder with these for a decoder."""
        whole = copy.deepcopy(self.vae).eval()
        for name, network in networks.items():
            getattr(whole, name).load_state_dict(network.state_dict())
        return whole
