"""Tiny models that follow instructions, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel

from imagic.backbones.instruction import widened
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from tests.conftest import build_pipeline, build_scheduler


def seeing(unet: UNet2DConditionModel, scale: float = 0.3) -> UNet2DConditionModel:
    """A copy of the UNet that also takes a picture's latents, by random weights."""
    wide = widened(unet).eval()
    channels = unet.config["in_channels"]
    with torch.no_grad():
        wide.conv_in.weight[:, channels:] = scale * torch.randn(
            wide.conv_in.weight[:, channels:].shape, generator=torch.Generator().manual_seed(1)
        )
    return wide


def build_instruct_pipeline(**scheduler: Any) -> StableDiffusionInstructPix2PixPipeline:
    """The tiny pipeline of the other tests with a UNet that sees pictures."""
    parts = build_pipeline()
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=parts.vae, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer, unet=seeing(parts.unet),
        scheduler=build_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.scheduler = build_scheduler(**scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def instructed_backbone(
    *, adapter: bool = False, word_level: bool = False, **scheduler: Any
) -> StableDiffusionBackbone:
    """adapter: the seeing UNet beside an ordinary one, as an adapter gives it; else it is the only one.
    word_level: of the tokenizer."""
    parts = build_pipeline(word_level=word_level)
    editor = seeing(parts.unet)
    unet = parts.unet if adapter else editor
    return StableDiffusionBackbone(
        "tiny", unet, parts.vae, parts.text_encoder, parts.tokenizer, build_scheduler(**scheduler), editor=editor
    )
