"""What is said of settings with which this package computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL, DDIMScheduler, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from imagic.backbones import loading, settings
from imagic.core.errors import ModelError
from tests.backbones import tiny
from tests.conftest import build_pipeline

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("owner", "setting", "sound", "wrong"),
    [
        (UNet2DConditionModel, "sample_size", [64, [64, 96], (8, 8)], [None, "64", 0, -1, 2**63, 6.4, True, [], ["a"]]),
        (UNet2DConditionModel, "block_out_channels", [[8, 16]], [8, [], [0], [None], {}, "ab"]),
        (SD3Transformer2DModel, "patch_size", [2], [0, "2", [2], None]),
        (AutoencoderKL, "scaling_factor", [0.18, 1, -1.0], [None, "x", NAN, INF, 10**400, True, [1.0]]),
        (AutoencoderKL, "shift_factor", [None, 0.1], ["x", NAN, []]),
        (AutoencoderKL, "latents_std", [None, [1.0, 2]], [[], ["a"], 1.0, [NAN], {}]),
        (DDIMScheduler, "num_train_timesteps", [1000], [10**6 + 1, 0, "x", None, 1e3]),
        (DDIMScheduler, "trained_betas", [None, [1e-4, 2e-2]], [2**63, 0.1, "x", [], [[0.1]]]),
        (DDIMScheduler, "prediction_type", ["epsilon", "sample"], [None, [], {}, 1]),
        (CLIPTextModel, "max_position_embeddings", [77], ["77", 0, None]),
        (CLIPTokenizer, "model_max_length", [77, int(1e30), 77.0], [0, -1, {}, "x", NAN, 10**400]),
    ],
)
def test_a_setting_is_what_it_must_be(owner: type, setting: str, sound: list[Any], wrong: list[Any]) -> None:
    for value in sound:
        settings.check("part", owner, {setting: value})
    for value in wrong:
        with pytest.raises(ModelError, match=f"'{setting}' of 'part' must be "):
            settings.check("part", owner, {setting: value})


def test_what_is_absent_or_belongs_to_others_is_not_looked_at() -> None:
    settings.check("unet", UNet2DConditionModel, {"norm_eps": "x"})
    settings.check("vae", AutoencoderKL, {"sample_size": None})
    settings.check("other", dict, {"sample_size": None})


def test_what_is_quoted_is_cut() -> None:
    with pytest.raises(ModelError) as caught:
        settings.check("vae", AutoencoderKL, {"scaling_factor": "x" * 10**5})
    assert len(str(caught.value)) < 200


def test_a_file_of_settings_is_an_object(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no JSON object"):
        settings.check("scheduler", DDIMScheduler, ["prediction_type"])
    build_pipeline().save_pretrained(tmp_path)
    for part, name in (("unet", "config"), ("scheduler", "scheduler_config"), ("text_encoder", "config")):
        file = tmp_path / part / f"{name}.json"
        whole = file.read_text()
        for other in ("[]", '["prediction_type"]', "3", "{"):
            file.write_text(other)
            with pytest.raises(ModelError):
                loading.load(tmp_path, "cpu")
        file.write_text(whole)
    loading.load(tmp_path, "cpu")


def test_a_setting_is_looked_at_where_a_model_is_loaded(tmp_path: Path) -> None:
    build_pipeline().save_pretrained(tmp_path)
    for part, name, setting in (
        ("unet", "config", "sample_size"),
        ("vae", "config", "scaling_factor"),
        ("scheduler", "scheduler_config", "timestep_spacing"),
        ("tokenizer", "tokenizer_config", "model_max_length"),
    ):
        file = tmp_path / part / f"{name}.json"
        whole = json.loads(file.read_text())
        file.write_text(json.dumps({**whole, setting: {"a": 1}}))
        with pytest.raises(ModelError, match=f"'{setting}' of '{part}' must be"):
            loading.load(tmp_path, "cpu")
        file.write_text(json.dumps(whole))


@pytest.mark.parametrize("build", [build_pipeline, tiny.build_sdxl, lambda: tiny.build_if(8)])
def test_of_two_sides_the_longer_counts(tmp_path: Path, build: Callable[[], Any]) -> None:
    build().save_pretrained(tmp_path)
    file = tmp_path / "unet" / "config.json"
    whole = json.loads(file.read_text())
    expected = loading.load(tmp_path, "cpu").image_size
    file.write_text(json.dumps({**whole, "sample_size": [whole["sample_size"] // 2, whole["sample_size"]]}))
    assert loading.load(tmp_path, "cpu").image_size == expected
