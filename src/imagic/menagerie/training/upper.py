"""The upper stage of the menagerie's cascade: from the base's 32 pixels to 128, in the layout of DeepFloyd IF.

The network sees the small picture, enlarged and a little noisy, and how noisy that is, so that it mends what the base
leaves blurred (conditioning augmentation, Ho et al. 2022; Saharia et al. 2022, Sec. 2.4). Texts are read by the base's
encoder, which is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline
from PIL import Image
from torch import Tensor, nn

from imagic.backbones.vp import VPGrid
from imagic.core.noise import add_noise
from imagic.core.seeds import derive
from imagic.menagerie.captions import caption
from imagic.menagerie.render import IMAGE_SIZE
from imagic.menagerie.training.base import (
    CHANNELS,
    DOWN,
    DOWN_WITH_TEXT,
    UP,
    UP_WITH_TEXT,
    build_scheduler,
    build_unet,
    embed,
    sampled,
    shrunk,
)
from imagic.menagerie.training.denoising import EMPTY_SHARE
from imagic.menagerie.training.noising import noised
from imagic.menagerie.training.shards import ShardStore
from imagic.menagerie.training.world import draw, scenes_of, tile

UNET: dict[str, Any] = {
    "block_out_channels": (32, 48, 64, 96),
    "down_block_types": (DOWN, DOWN, DOWN, DOWN_WITH_TEXT),
    "up_block_types": (UP_WITH_TEXT, UP, UP, UP),
}
# Levels of the noise on the small picture, of a thousand; in use it is 250.
NOISIEST = 500
SHOWN = 8  # pictures of a sheet


def build_noising() -> DDPMScheduler:
    """The noise on the small picture."""
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2")


class UpperTask:
    """Denoising of pictures beside their small copies. base: reads the texts, and is held. store: pictures of scenes,
    uint8."""

    name = "upper"

    def __init__(self, base: IFPipeline, store: ShardStore, device: torch.device | str = "cpu", seed: int = 0) -> None:
        self.store, self.device, self.seed = store, device, seed
        self.tokenizer = base.tokenizer
        self.text_encoder = base.text_encoder.to(device).eval().requires_grad_(False)
        self.unet = build_unet(IMAGE_SIZE, in_channels=2 * CHANNELS, class_embed_type="timestep", **UNET)
        self.grid = VPGrid(self.name, build_scheduler())
        self.noising = VPGrid(self.name, build_noising()).levels

    def networks(self) -> dict[str, nn.Module]:
        return {"unet": self.unet}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        scenes, pictures = self.store.batch(step, batch)
        pictures = pictures.to(self.device).float() / 127.5 - 1
        rng = np.random.default_rng(derive(self.seed, f"captions/{step}"))
        texts = ["" if rng.random() < EMPTY_SHARE else caption(scene, rng) for scene in scenes]
        given = noised(pictures, self.grid, noise)
        smaller, level = self._beside(shrunk(pictures), noise)
        output = self.unet(
            torch.cat([given.z, smaller], dim=1),
            given.timestep,
            embed(self.text_encoder, self.tokenizer, texts, self.device),
            class_labels=level,
        ).sample
        loss = (output[:, :CHANNELS].float() - given.target).square().mean()
        return loss, {"loss": loss.item()}

    def _beside(self, small: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Small pictures enlarged and noised, each to a level of its own, and the levels."""
        enlarged = F.interpolate(small, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=True)
        level = torch.randint(NOISIEST, (len(small),), generator=noise)
        eps = torch.randn(enlarged.shape, generator=noise).to(enlarged)
        return add_noise(enlarged, eps, self.noising.alpha[level], self.noising.sigma[level]), level.to(small.device)

    def pipeline(self, networks: Mapping[str, nn.Module], text_encoder: nn.Module | None) -> IFSuperResolutionPipeline:
        """The stage as diffusers knows it; in a cascade it needs no text encoder of its own."""
        return IFSuperResolutionPipeline(
            tokenizer=None if text_encoder is None else self.tokenizer,
            text_encoder=text_encoder,
            unet=networks["unet"],
            scheduler=build_scheduler(),
            image_noising_scheduler=build_noising(),
            safety_checker=None,
            feature_extractor=None,
            watermarker=None,
            requires_safety_checker=False,
        )

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        """Held-out scenes from their own small copies."""
        rng = np.random.default_rng(0)
        scenes = scenes_of(0, SHOWN, held_out=True)
        small = shrunk(draw(scenes, self.device))
        texts = [caption(scene, rng) for scene in scenes]
        return tile(sampled(self.pipeline(networks, self.text_encoder), image=small, prompt=texts), columns=SHOWN // 2)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        self.pipeline(networks, None).to(torch.float16).save_pretrained(folder)
