"""The menagerie's text-to-image model: a UNet in the latents of the autoencoder, and the text encoder trained with it.

Latent diffusion with v-prediction (Salimans & Ho 2022), in the layout of diffusers' StableDiffusionPipeline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from imagic.backbones.vp import VPGrid
from imagic.core.noise import NoiseLevels
from imagic.menagerie.captions import caption
from imagic.menagerie.tokenizer import TEXT_LENGTH, build_tokenizer
from imagic.menagerie.training.coats import coat_weights
from imagic.menagerie.training.denoising import DenoisingTask
from imagic.menagerie.training.helpers import save_helpers
from imagic.menagerie.training.labels import READER, FactReader
from imagic.menagerie.training.shards import ShardStore
from imagic.menagerie.training.unsaid import UNSAID, Unsaid
from imagic.menagerie.training.world import scenes_of, tile

FINE_LEVELS = 0.4  # share of the levels at which a picture is seen through its noise, and words tell little
FINE_SHARE = 0.16  # of the pictures in training that are shown at one of them
COAT_WEIGHT = 4.0  # of the cells that show a coat, against the others
TEXT_WIDTH = 128
HEADS = 4
UNET: dict[str, Any] = {
    "block_out_channels": (128, 192, 192),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": HEADS,  # diffusers' name for the number of heads
    "norm_num_groups": 4,
}


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's kind of schedule, a little noisier at its end, so that sampling can start from pure noise."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.016,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def build_unet(vae: AutoencoderKL) -> UNet2DConditionModel:
    """An untrained UNet for the latents of `vae`."""
    side = vae.config["sample_size"] // 2 ** (len(vae.config["block_out_channels"]) - 1)
    channels = vae.config["latent_channels"]
    return UNet2DConditionModel(
        sample_size=side, in_channels=channels, out_channels=channels, cross_attention_dim=TEXT_WIDTH, **UNET
    )


def build_text_encoder(tokenizer: Any) -> CLIPTextModel:
    """An untrained small CLIP text encoder for a tokenizer's vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=HEADS,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def coarse_first(levels: NoiseLevels) -> NoiseLevels:
    """The levels, from the least noise to the most, with how training spends itself on them."""
    fine = int(FINE_LEVELS * len(levels))
    density = torch.full((len(levels),), (1 - FINE_SHARE) / (len(levels) - fine), dtype=torch.float64)
    density[:fine] = FINE_SHARE / fine
    return replace(levels, density=density)


class DiffusionTask(DenoisingTask):
    """Denoising of the latents of training scenes under random captions. store: latents with coats."""

    name = "diffusion"

    def __init__(
        self, vae: AutoencoderKL, store: ShardStore, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        self.vae, self.store, self.device, self.seed = vae, store, device, seed
        self.tokenizer = build_tokenizer()
        self.scheduler = build_scheduler()
        self.unet, self.text_encoder = build_unet(vae), build_text_encoder(self.tokenizer)
        deepest = UNET["block_out_channels"][-1]
        self.reader, self.unsaid = FactReader(deepest), Unsaid(TEXT_WIDTH, deepest)
        self.grid = VPGrid(self.name, self.scheduler)
        self.grid.levels = coarse_first(self.grid.levels)

    def networks(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, "text_encoder": self.text_encoder, READER: self.reader, UNSAID: self.unsaid}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        scenes, rows = self.store.batch(step, batch)
        z0, coats = rows.to(self.device).float().tensor_split([-1], dim=1)
        return self.told_loss(step, scenes, z0, coat_weights(coats, COAT_WEIGHT), noise)

    def embed(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return cast(Tensor, self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state)

    def pipeline(self, networks: Mapping[str, nn.Module]) -> StableDiffusionPipeline:
        """The model as diffusers knows it, from these networks."""
        return StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=networks["text_encoder"],
            tokenizer=build_tokenizer(),  # the one in use would be saved with the padding of its last call
            unet=networks["unet"],
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        pipeline = self.pipeline(networks)
        pipeline.set_progress_bar_config(disable=True)
        rng = np.random.default_rng(0)
        texts = [caption(scene, rng) for scene in scenes_of(0, 32, held_out=True)]
        start = torch.Generator().manual_seed(0)
        images = pipeline(texts, num_inference_steps=20, guidance_scale=3.0, generator=start, output_type="pt").images
        return tile(images * 2 - 1, columns=8)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        self.pipeline(networks).to(torch.float16).save_pretrained(folder)
        save_helpers(networks, folder)
