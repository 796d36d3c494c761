"""Models whose files or settings are wrong: one sentence, soon, and never for a bug of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from imagic.backbones import loading, reading, stable_diffusion
from imagic.backbones.foreign import PARAMETERS_PER_TENSOR, no_larger_than, told
from imagic.backbones.vp import VPGrid
from imagic.core.errors import ModelError, OptionError
from tests.backbones import tiny
from tests.conftest import build_pipeline


def write(folder: Path, part: str, changes: Mapping[str, Any], pipeline: Any = None) -> Path:
    """A model with changed settings of one part."""
    (pipeline or build_pipeline()).save_pretrained(folder)
    (file,) = (folder / part).glob("*config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


def test_what_goes_wrong_is_told_in_its_first_line() -> None:
    with pytest.raises(ModelError, match=r"^It is damaged: one$"), told("It is damaged"):
        raise ValueError("one\ntwo")
    with pytest.raises(ModelError, match=r"^It is damaged: AssertionError$"), told("It is damaged"):
        raise AssertionError
    for other in (OptionError("Give another."), MemoryError(), RuntimeError("CUDA out of memory"), KeyboardInterrupt()):
        with pytest.raises(type(other)) as caught, told("It is damaged"):
            raise other
        assert caught.value is other


def test_a_model_is_not_built_far_beyond_its_files(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, tmp_path / "a.safetensors")
    save_file({"other": torch.ones(2)}, tmp_path / "b.safetensors")
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    room = 3 * PARAMETERS_PER_TENSOR
    built: list[nn.Module] = []

    def build(count: int) -> None:
        """So many parameters."""
        built.clear()
        built.extend(nn.Linear(2, 2, bias=False) for _ in range(count))

    with no_larger_than(files):
        build(room)
    with pytest.raises(ValueError, match="hold 3 tensors"), no_larger_than(files):
        build(2**63)
    assert len(built) <= room
    build(2 * room)
    assert len(built) == 2 * room
    with no_larger_than([tmp_path / "pickled.bin"]):
        build(2 * room)


ENDLESS = [
    ("unet", {"layers_per_block": 2**63}),
    ("vae", {"layers_per_block": 2**63}),
    ("text_encoder", {"num_hidden_layers": 2**63}),
    ("scheduler", {"num_train_timesteps": 2**63}),
    ("scheduler", {"num_train_timesteps": 10**9, "beta_schedule": "squaredcos_cap_v2"}),
    ("unet", {"sample_size": 10**6}),
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("part", "changes"), ENDLESS)
def test_a_model_without_end_is_refused_soon(tmp_path: Path, part: str, changes: Mapping[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"far larger than its files|whole number from 1 to|pixels a side"):
        loading.load(write(tmp_path, part, changes), "cpu")


# Settings that are used only when a model computes, or that fit each of its parts but not the whole.
USED_LATE = [
    ("unet", {"norm_eps": "x"}, ""),
    ("unet", {"freq_shift": None}, ""),
    ("vae", {"latents_mean": [1.0, 2.0]}, "match the size"),
    ("vae", {"latents_std": [1.0] * 5}, "match the size"),
    ("vae", {"up_block_types": []}, "it makes pictures of"),  # what is too much in a file is not read
    ("text_encoder", {"layer_norm_eps": float("nan")}, "not finite"),
    ("scheduler", {"beta_start": float("nan")}, "not finite"),
    ("scheduler", {"steps_offset": "x"}, ""),
    ("tokenizer", {"model_max_length": 0.5}, "at least 1"),
]


@pytest.mark.parametrize(("part", "changes", "said"), USED_LATE)
def test_settings_that_are_used_late_are_told_at_once(
    tmp_path: Path, part: str, changes: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        loading.load(write(tmp_path, part, changes), "cpu")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    build_pipeline().save_pretrained(tmp_path)
    file = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_out.bias"][0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        loading.load(tmp_path, "cpu")


def test_every_stage_of_a_cascade_is_tried(tmp_path: Path) -> None:
    base, upper = tiny.build_if(8), tiny.build_if_upper(16)
    base.save_pretrained(tmp_path / "base")
    names = "+".join(str(tmp_path / name) for name in ("base", "upper"))
    write(tmp_path / "upper", "unet", {"norm_eps": 1e-5}, upper)
    assert len(loading.load(names, "cpu").upper_stages()) == 1
    write(tmp_path / "upper", "unet", {"norm_eps": "x"}, upper)
    with pytest.raises(ModelError, match="cannot be used"):
        loading.load(names, "cpu")


def test_a_damaged_editor_is_told(tmp_path: Path) -> None:
    build_pipeline().save_pretrained(tmp_path)
    (tmp_path / "instruct").mkdir()
    (tmp_path / "instruct" / "adapter.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"adapter\.safetensors' could not be loaded"):
        loading.load(tmp_path, "cpu")


def test_a_bug_of_ours_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_pipeline().save_pretrained(tmp_path)

    def broken(*_: Any, **__: Any) -> Any:
        raise AttributeError("a bug")

    for owner, name in ((stable_diffusion, "fingerprint"), (reading, "_weights"), (VPGrid, "__init__")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            with pytest.raises(AttributeError, match="a bug"):
                loading.load(tmp_path, "cpu")


def test_the_model_that_ships_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what goes wrong in it is a bug, too, and that it loads as fast as it can."""
    write(tmp_path / "model", "unet", {"norm_eps": "x"})
    monkeypatch.setattr(loading, "files", lambda package: tmp_path)
    monkeypatch.setattr(loading, "BUNDLED", {"bundled": "model"})
    assert loading.load("bundled", "cpu").name == "bundled"
    with pytest.raises(ModelError, match="cannot be used"):
        loading.load(tmp_path / "model", "cpu")
