"""How a model is loaded: every command that loads one hands on what was asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from imagic.backbones import loading
from imagic.core.errors import ModelError
from tests.backbones.test_lora import EVERY, write_lora
from tests.cli.conftest import TINY_EDIT, TINY_FIT, Run

ASKED = [
    *("--model", "someone/tiny", "--variant", "fp16", "--revision", "old", "--lora", "a.safetensors:0.5"),
    *("--lora", "b.safetensors", "--config", "sdxl", "--allow-pickle", "--quantise-text", "8bit", "--offload"),
    *("--device", "cpu", "--dtype", "bfloat16"),
]


@pytest.fixture
def made(run: Run, model_folder: Path, picture: Path, tmp_path: Path) -> dict[str, Path]:
    """An edited picture and a saved state."""
    state = tmp_path / "dog.safetensors"
    done = run("fit", picture, "a sitting dog", "-o", state, "--model", model_folder, *TINY_FIT)
    assert done.exit_code == 0
    arguments = ("--state", state, "--model", model_folder, "--eta", 0.5, "-o", tmp_path / "made.png")
    assert run("edit", picture, *arguments, "--set", "num_steps=2").exit_code == 0
    return {"state": state, "made": tmp_path / "made.png"}


@pytest.mark.parametrize("command", ["edit", "state", "fit", "mask", "redo", "bench"])
def test_all_that_was_asked_reaches_the_loader(
    command: str, run: Run, picture: Path, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    def load(*arguments: Any, **keywords: Any) -> None:
        seen.append((*arguments, keywords))
        raise ModelError("enough")

    monkeypatch.setattr(loading, "load", load)
    lines = {
        "edit": ("edit", picture, "a sitting dog"),
        "state": ("edit", picture, "--state", made["state"]),
        "fit": ("fit", picture, "a sitting dog"),
        "mask": ("mask", picture, "a sitting dog"),
        "redo": ("redo", made["made"], "--image", picture),
        "bench": ("bench", "run", "--out", tmp_path / "rows", "--limit", 1),
    }
    done = run(*lines[command], *ASKED)
    assert done.exit_code == 1
    assert "enough" in done.stderr
    [(name, device, dtype, keywords)] = seen
    assert (name, device, dtype) == ("someone/tiny", torch.device("cpu"), torch.bfloat16)
    assert [(str(lora.path), lora.weight) for lora in keywords.pop("loras")] == [
        ("a.safetensors", 0.5),
        ("b.safetensors", 1.0),
    ]
    assert keywords == {
        "config": "sdxl",
        "variant": "fp16",
        "revision": "old",
        "allow_pickle": True,
        "quantise": "8bit",
        "offload": True,
    }


def test_an_edit_with_a_lora_is_made_again_with_it_alone(
    run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    write_lora(EVERY[0], tmp_path)
    lora = ("--lora", f"{tmp_path / 'pytorch_lora_weights.safetensors'}:0.5")
    model = ("--model", model_folder)
    done = run("edit", picture, "a sitting dog", *model, *lora, "--eta", 0.5, *TINY_FIT, *TINY_EDIT, "--json")
    path = json.loads(done.stdout)["images"][0]["path"]
    assert run("redo", path, "--image", picture, *model, *lora).exit_code == 0
    refused = run("redo", path, "--image", picture, *model)
    assert refused.exit_code == 1
    assert "not the model" in refused.stderr
