"""AutoencoderKL between pictures and latents, scaled as the denoiser was trained: z = (mean - shift) * scale."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from imagic.backbones.placement import Place


class Autoencoder:
    """vae: taken over. factor: pixels per latent along a side."""

    def __init__(self, vae: AutoencoderKL, place: Place) -> None:
        self.vae, self._place = vae, place
        self.factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self.channels = int(vae.config["latent_channels"])
        # A config that forces upcasting says that the model overflows in half precision (SDXL's does).
        overflows = place.dtype == torch.float16 and vae.config["force_upcast"]
        place.settle(vae, dtype=torch.float32 if overflows else place.dtype)
        self.unscaled(torch.zeros(1, device=place.device))  # settings that cannot be used are told now

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [-1, 1] to the scaled posterior mean (B, C, H / factor, W / factor), float32."""
        with self._place.using(self.vae):
            mean: Tensor = self.vae.encode(image.to(self._place.device, self.vae.dtype)).latent_dist.mean
        z: Tensor = (mean.float() - self._shift) * self._scale
        return z

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Scaled latents to an image in [-1, 1], clamped, float32."""
        with self._place.using(self.vae):
            image: Tensor = self.vae.decode(self.unscaled(z.to(self._place.device)).to(self.vae.dtype)).sample
        return image.float().clamp(-1, 1)

    def unscaled(self, z: Tensor) -> Tensor:
        """Scaled latents on the device as the encoder's mean: what the decoder takes, and InstructPix2Pix's network."""
        return z / self._scale + self._shift

    @property
    def _shift(self) -> float | Tensor:
        if self.vae.config["latents_mean"] is not None:  # one per channel, as in Playground v2.5
            return self._per_channel("latents_mean")
        return float(self.vae.config["shift_factor"] or 0)

    @property
    def _scale(self) -> float | Tensor:
        factor = float(self.vae.config["scaling_factor"])
        return factor / self._per_channel("latents_std") if self.vae.config["latents_std"] is not None else factor

    def _per_channel(self, name: str) -> Tensor:
        return torch.tensor(self.vae.config[name], device=self._place.device).reshape(1, -1, 1, 1)
