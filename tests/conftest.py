"""Shared fixtures: tiny Stable Diffusion pipelines with random weights, built in memory, offline, in milliseconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from imagic.backbones.stable_diffusion import StableDiffusionBackbone

WORDS = ("a", "photo", "of", "dog", "cat", "sitting", "standing", "on", "the", "grass")
TEXT_LENGTH = 12

MakePipeline = Callable[..., StableDiffusionPipeline]
MakeBackbone = Callable[..., StableDiffusionBackbone]


def pytest_configure() -> None:
    """Workers of pytest-xdist, and the processes that their tests start, share the processors."""
    if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        threads = max(1, (os.cpu_count() or 1) // int(workers))
        torch.set_num_threads(threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or written to the user's cache, also in fixtures of a wider scope and in child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGIC_CACHE_DIR", str(tmp_path_factory.mktemp("cache-of-fixtures")))
        patch.delenv("IMAGIC_CACHE_GB", raising=False)
        yield


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has an empty cache of its own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("IMAGIC_CACHE_DIR", str(folder))
    return folder


def build_tokenizer(*, word_level: bool = False) -> CLIPTokenizer:
    """Single bytes and WORDS, each word one token reached by merging its letters from left to right."""
    # The byte alphabet of GPT-2's and CLIP's byte-level BPE: printable bytes stand for themselves, others are moved up.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [256 + i for i in range(256 - len(printable))]
    letters = [chr(code) for code in [*printable, *moved]]
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = word[0]
        for i, letter in enumerate(word[1:], start=2):
            right = letter + ("</w>" if i == len(word) else "")
            merges.append((left, right))
            left += right
            tokens.append(left)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(
        vocab=vocab, merges=list(dict.fromkeys(merges)), model_max_length=TEXT_LENGTH, word_level=word_level
    )


def build_scheduler(**changes: Any) -> DDIMScheduler:
    """Stable Diffusion's noise, with changes."""
    settings = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    return DDIMScheduler(**{**settings, **changes})


def build_pipeline(*, word_level: bool = False, **scheduler: Any) -> StableDiffusionPipeline:
    """16 px images, 8x8x4 latents; the same weights each time; the keywords change the scheduler's settings."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=4,
            norm_num_groups=4,
            scaling_factor=0.7,
            shift_factor=0.1,
        )
        tokenizer = build_tokenizer(word_level=word_level)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=TEXT_LENGTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    return StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=build_scheduler(**scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture
def make_pipeline() -> MakePipeline:
    """build_pipeline: a new tiny pipeline; keywords: word_level and settings of the scheduler."""
    return build_pipeline


@pytest.fixture
def make_backbone() -> MakeBackbone:
    """A backbone over a new tiny pipeline; keywords as for make_pipeline."""

    def make(*, word_level: bool = False, **scheduler: Any) -> StableDiffusionBackbone:
        parts = build_pipeline(word_level=word_level)
        # Not through the pipeline, which corrects settings that it holds to be outdated.
        return StableDiffusionBackbone(
            "tiny", parts.unet, parts.vae, parts.text_encoder, parts.tokenizer, build_scheduler(**scheduler)
        )

    return make


@pytest.fixture(params=["epsilon", "v_prediction"])
def tiny_backbone(request: pytest.FixtureRequest, make_backbone: MakeBackbone) -> StableDiffusionBackbone:
    """A new tiny backbone: the test runs once for eps and once for v."""
    return make_backbone(prediction_type=request.param)


@pytest.fixture
def eps_backbone(make_backbone: MakeBackbone) -> StableDiffusionBackbone:
    return make_backbone(prediction_type="epsilon")


@pytest.fixture
def v_backbone(make_backbone: MakeBackbone) -> StableDiffusionBackbone:
    return make_backbone(prediction_type="v_prediction")
