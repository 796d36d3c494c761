"""A super-resolution stage of DeepFloyd IF: a network of pixels that also sees the picture of the stage below, enlarged
and a little noisy, and how noisy that is (Saharia et al. 2022, Imagen, Sec. 2.4: conditioning augmentation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from imagic.backbones.fingerprint import fingerprint, part_facts, settings
from imagic.backbones.network import NetworkBackbone, check_channels, longer_side
from imagic.backbones.pixels import CHANNELS, Pixels
from imagic.backbones.placement import Place
from imagic.backbones.vp import VPGrid
from imagic.core.conditioning import Conditioning
from imagic.core.noise import add_noise
from imagic.core.types import Ability, Backbone, TextReport, UpperStage

# No config holds these: the pipeline's steps, its guidance, and the level of the noise on the smaller picture.
NUM_STEPS = 50
GUIDANCE_SCALE = 4.0
NOISE_LEVEL = 250

SMALLER, LEVEL = "smaller", "noise_level"


class DeepFloydUpperStage(NetworkBackbone, UpperStage):
    """core.types.UpperStage over diffusers' models."""

    num_steps, guidance_scale = NUM_STEPS, GUIDANCE_SCALE

    def __init__(
        self,
        name: str,
        base: Backbone,
        unet: UNet2DConditionModel,
        scheduler: Any,
        image_noising_scheduler: Any,
        *,
        below: int,
        top: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        """Takes the UNet over. name: of the cascade. base: encodes the texts.

        scheduler: of this network; image_noising_scheduler: of the noise on the smaller picture; of both only the
        config is used. below, top: sides of the pictures of the stage below and of the whole cascade. Placement as for
        the base. Raises ModelError for another kind of network.
        """
        check_channels(name, unet, 2 * CHANNELS)
        side, grid = longer_side(unet), VPGrid(name, scheduler, pixels=True)
        noise = VPGrid(name, image_noising_scheduler)
        self._alpha, self._sigma = noise.levels.alpha[NOISE_LEVEL], noise.levels.sigma[NOISE_LEVEL]
        self.fingerprint = fingerprint(
            {"unet": unet},
            part_facts({"unet": unet})
            | {name: settings(each.config, DDIMScheduler) for name, each in (("scheduler", grid), ("noise", noise))},
        )
        place = Place.of(unet, device, dtype, offload)
        super().__init__(name, unet, Pixels(top // side, place.device), grid, place, autocast)
        self.unet, self._base = unet, base
        self.prediction, self.scale = grid.prediction, side // below
        self.abilities = frozenset({Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE})
        self.image_size = top
        self.size_multiple = size_multiple(unet, self._pictures.factor)

    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        return self._base.encode_text(texts)

    def report_text(self, text: str) -> TextReport:
        return self._base.report_text(text)

    def beside(self, conditioning: Conditioning, smaller: Tensor, noise: Tensor) -> Conditioning:
        enlarged = F.interpolate(smaller.to(noise), noise.shape[2:], mode="bilinear", align_corners=True)
        rows = conditioning.expand(len(noise))
        level = torch.full([len(noise)], NOISE_LEVEL, device=noise.device)
        seen = {SMALLER: add_noise(enlarged, noise, self._alpha, self._sigma), LEVEL: level}
        return Conditioning({**rows.tensors, **seen}, rows.learnable)

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        tensors = conditioning.tensors
        with self._precision() as dtype:
            output: Tensor = self.unet(
                torch.cat([z.to(self.device), tensors[SMALLER].to(self.device)], dim=1).to(dtype),
                timestep.to(self.device),
                encoder_hidden_states=tensors["sequence"].to(self.device, self.dtype),
                class_labels=tensors[LEVEL].to(self.device),
                return_dict=False,
            )[0]
        return output[:, :CHANNELS].float()


def size_multiple(unet: UNet2DConditionModel, factor: int) -> int:
    """What a side of the cascade's pictures must be a multiple of. factor: the cascade's pixels per one of the UNet."""
    return int(factor * 2 ** (len(unet.config["block_out_channels"]) - 1))
