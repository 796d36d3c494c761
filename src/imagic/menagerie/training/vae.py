"""The menagerie's autoencoder: diffusers' AutoencoderKL, 128 x 128 x 3 to 16 x 16 x 12 and back.

Trained on pixels and on their differences to the neighbours, which keep eyes and coats sharp; the KL term only keeps
the latents' scale near one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from imagic.menagerie.render import IMAGE_SIZE
from imagic.menagerie.training.world import CHUNK, draw, scenes_of, tile

CHANNELS = (32, 32, 64, 128)
LATENT_CHANNELS = 12
GRADIENT_WEIGHT = 1.0
SQUARE_WEIGHT = 4.0
KL_WEIGHT = 2e-5
BLOCK = 8  # steps whose pictures are drawn together


def build_vae() -> AutoencoderKL:
    """An untrained autoencoder. Two norm groups: many small ones are slow in the channels-last layout on CPUs."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        block_out_channels=CHANNELS,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        mid_block_add_attention=False,
        sample_size=IMAGE_SIZE,
        force_upcast=False,
    )


class Pictures:
    """The pictures of each step, drawn together with those of its neighbours: small batches draw slowly."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self._block: tuple[int, Tensor] = (-1, torch.empty(0))

    def of(self, step: int, batch: int) -> Tensor:
        """The step's own scenes, (batch, 3, 128, 128)."""
        block = step // BLOCK
        if self._block[0] != block:
            self._block = block, draw(scenes_of(block * BLOCK * batch, BLOCK * batch), self.device)
        first = step % BLOCK * batch
        return self._block[1][first : first + batch].contiguous(memory_format=torch.channels_last)


class VaeTask:
    """Reconstruction of fresh renders."""

    name = "vae"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device
        self.vae = build_vae()
        self.pictures = Pictures(device)

    def networks(self) -> dict[str, nn.Module]:
        return {"vae": self.vae}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        images = self.pictures.of(step, batch)
        posterior = self.vae.encode(images).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        drawn = torch.randn(mean.shape, generator=noise).to(mean.device)
        decoded = self.vae.decode(mean + (0.5 * log_variance).exp() * drawn).sample.float()
        loss, values = picture_loss(decoded, images)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return loss + KL_WEIGHT * kl, {**values, "kl": kl.item()}

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        return round_trip_sheet(cast(AutoencoderKL, networks["vae"]), self.device)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        vae = cast(AutoencoderKL, networks["vae"])
        whiten(vae, self.device)
        vae.to(torch.float16).save_pretrained(folder)


def picture_loss(decoded: Tensor, images: Tensor) -> tuple[Tensor, dict[str, float]]:
    """How far decoded pictures are from the true ones: absolute and squared error, and the absolute error of their
    differences between neighbours. Returns the loss and what to show of it."""
    error = decoded - images
    square, absolute = error.square().mean(), error.abs().mean()
    slope = (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2
    loss = absolute + SQUARE_WEIGHT * square + GRADIENT_WEIGHT * slope
    return loss, {"loss": loss.item(), "psnr": psnr(square)}


def round_trip_sheet(vae: AutoencoderKL, device: torch.device | str) -> Image.Image:
    """Held-out scenes, each beside its round trip."""
    images = draw(scenes_of(0, 24, held_out=True), device)
    return tile(torch.stack((images, round_trip(vae, images).float()), 1).flatten(0, 1), columns=8)


def psnr(square_error: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of a mean square error of pictures in [-1, 1]."""
    return float(10 * torch.log10(4 / square_error.detach()))


def round_trip(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Pictures encoded to the posterior's mean and decoded."""
    return cast(Tensor, vae.decode(vae.encode(images).latent_dist.mean).sample).clamp(-1, 1)


@torch.no_grad()
def whiten(vae: AutoencoderKL, device: torch.device | str, count: int = 512) -> None:
    """Gives each latent channel mean 0 and variance 1 over the first training scenes.

    The change is made in the 1 x 1 convolutions at both ends of the latent, so pictures stay the same and the scaling
    factor is exactly 1: diffusers' Stable Diffusion pipelines know no shift and one factor for all channels.
    """
    chunks = [draw(scenes_of(first, CHUNK), device) for first in range(0, count, CHUNK)]
    latents = torch.cat([vae.encode(chunk.to(vae.dtype)).latent_dist.mean for chunk in chunks]).float()
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, back = vae.quant_conv, vae.post_quant_conv
    into.bias.copy_(torch.cat(((into.bias[: len(mean)] - mean) / std, into.bias[len(mean) :] - 2 * std.log())))
    into.weight[: len(mean)] /= std[:, None, None, None]
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)
