"""The base of the menagerie's cascade: pictures of 32 pixels from a text, in the layout of DeepFloyd IF.

A counterpart in pixels of the bundled model, as Imagen (Saharia et al. 2022) is of Stable Diffusion; a T5 of its own is
trained with it. It predicts v (Salimans & Ho 2022). The layout wants a variance put out as well, which nothing trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, IFPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from imagic.backbones.vp import VPGrid
from imagic.menagerie.captions import caption
from imagic.menagerie.pieces import TEXT_LENGTH, build_pieces
from imagic.menagerie.training.denoising import DenoisingTask
from imagic.menagerie.training.helpers import save_helpers
from imagic.menagerie.training.labels import READER, FactReader
from imagic.menagerie.training.shards import ShardStore
from imagic.menagerie.training.unsaid import UNSAID, Unsaid
from imagic.menagerie.training.world import scenes_of, tile

SIDE = 32
CHANNELS = 3
TEXT_WIDTH = 128
TEXT: dict[str, Any] = {"num_layers": 3, "num_heads": 4, "d_kv": 32, "d_ff": 256, "dropout_rate": 0.0}
DOWN, DOWN_WITH_TEXT = "ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"
UP, UP_WITH_TEXT = "ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"
UNET: dict[str, Any] = {
    "block_out_channels": (64, 96, 128),
    "down_block_types": (DOWN, DOWN_WITH_TEXT, DOWN_WITH_TEXT),
    "up_block_types": (UP_WITH_TEXT, UP_WITH_TEXT, UP),
}
# What all networks of the layout share.
LAYOUT: dict[str, Any] = {
    "layers_per_block": 1,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "attention_head_dim": 32,
    "cross_attention_norm": "group_norm",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "resnet_time_scale_shift": "scale_shift",
    "act_fn": "gelu",
    "norm_num_groups": 4,
}


def build_scheduler() -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", variance_type="fixed_small")


def build_unet(side: int, **settings: Any) -> UNet2DConditionModel:
    """An untrained network for pictures of a side, which puts out a variance beside its prediction."""
    text = {"encoder_hid_dim": TEXT_WIDTH, "cross_attention_dim": TEXT_WIDTH}
    whole = {"in_channels": CHANNELS, "out_channels": 2 * CHANNELS, **LAYOUT, **text, **settings}
    return UNet2DConditionModel(sample_size=side, **whole)


def build_text_encoder(tokenizer: Any) -> T5EncoderModel:
    """An untrained small T5 for a tokenizer's vocabulary."""
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=TEXT_WIDTH, feed_forward_proj="gated-gelu", **TEXT)
    )


def embed(text_encoder: nn.Module, tokenizer: Any, texts: list[str], device: torch.device | str) -> Tensor:
    """The sequences (B, TEXT_LENGTH, TEXT_WIDTH) of texts, as the pipeline makes them: the encoder sees no padding."""
    tokens = tokenizer(
        texts, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt"
    ).to(device)  # fmt: skip
    return cast(Tensor, text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state)


def shrunk(pictures: Tensor) -> Tensor:
    """Pictures (N, 3, H, H) at SIDE pixels: the means over squares of theirs."""
    return F.adaptive_avg_pool2d(pictures, SIDE)


class BaseTask(DenoisingTask):
    """Denoising of small pictures. store: pictures of scenes, uint8."""

    name = "base"

    def __init__(self, store: ShardStore, device: torch.device | str = "cpu", seed: int = 0) -> None:
        self.store, self.device, self.seed = store, device, seed
        self.tokenizer = build_pieces()
        self.unet, self.text_encoder = build_unet(SIDE, **UNET), build_text_encoder(self.tokenizer)
        deepest = UNET["block_out_channels"][-1]
        self.reader, self.unsaid = FactReader(deepest), Unsaid(TEXT_WIDTH, deepest)
        self.grid = VPGrid(self.name, build_scheduler())

    def networks(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, "text_encoder": self.text_encoder, READER: self.reader, UNSAID: self.unsaid}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        scenes, pictures = self.store.batch(step, batch)
        return self.told_loss(step, scenes, shrunk(pictures.to(self.device).float() / 127.5 - 1), 1.0, noise)

    def embed(self, texts: list[str]) -> Tensor:
        return embed(self.text_encoder, self.tokenizer, texts, self.device)

    def pipeline(self, networks: Mapping[str, nn.Module]) -> IFPipeline:
        """The base as diffusers knows it, from these networks."""
        return IFPipeline(
            tokenizer=build_pieces(),
            text_encoder=networks["text_encoder"],
            unet=networks["unet"],
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            watermarker=None,
            requires_safety_checker=False,
        )

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        rng = np.random.default_rng(0)
        texts = [caption(scene, rng) for scene in scenes_of(0, 32, held_out=True)]
        return tile(sampled(self.pipeline(networks), prompt=texts), columns=8)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        self.pipeline(networks).to(torch.float16).save_pretrained(folder)
        save_helpers(networks, folder)


def sampled(pipeline: Any, **inputs: Any) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] that a pipeline of this layout draws from noise of its own."""
    pipeline.set_progress_bar_config(disable=True)
    start = torch.Generator().manual_seed(0)
    pictures = pipeline(
        **inputs, num_inference_steps=20, guidance_scale=3.0, generator=start, output_type="pt", clean_caption=False
    ).images
    return cast(Tensor, pictures)
