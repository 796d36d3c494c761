"""Single-file checkpoints with a folder's configs: the same model as the folder that they were made from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES
from safetensors.torch import save_file

from imagic.backbones import flux, loading, stable_diffusion, stable_diffusion_3, stable_diffusion_xl
from imagic.core.errors import ModelError, OptionError
from tests.backbones import ldm
from tests.backbones.conftest import Family
from tests.conftest import build_pipeline


def write(pipeline: Any, folder: Path, *, weights_of: tuple[str, ...] = ()) -> Path:
    """A folder of configs and tokenizers, with the weights of some parts only."""
    pipeline.save_pretrained(folder)
    for file in folder.glob("*/*.safetensors"):
        if file.parent.name not in weights_of:
            file.unlink()
    return folder


def test_a_whole_model_in_one_file(tmp_path: Path) -> None:
    """With its autoencoder and text encoder, under the names of the original checkpoints; the configs lie beside it,
    among them a setting that diffusers' pipelines would alter."""
    pipeline = build_pipeline(prediction_type="v_prediction")
    pipeline.save_pretrained(tmp_path / "whole")
    write(pipeline, tmp_path / "dog")
    for folder in ("whole", "dog"):
        config = tmp_path / folder / "scheduler" / "scheduler_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "steps_offset": 0}))
    save_file(ldm.checkpoint(pipeline), tmp_path / "dog.safetensors")
    backbone = loading.load(tmp_path / "dog.safetensors", "cpu")
    assert backbone.name == str(tmp_path / "dog.safetensors")
    assert backbone.fingerprint == loading.load(tmp_path / "whole", "cpu").fingerprint
    assert backbone.schedule(10).timestep.tolist() == [*range(900, -1, -100), 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_in_one_file(family: Family, tmp_path: Path, dtype: torch.dtype) -> None:
    """The folder gives all else; the file may be in another precision than the folder."""
    pipeline = family.build()
    others = tuple(name for name in pipeline.components if name not in ("unet", "transformer"))
    configs = write(pipeline, tmp_path / "configs", weights_of=others)
    network = family.network(pipeline)
    network.to(dtype)
    save_file({name: each.contiguous() for name, each in network.state_dict().items()}, tmp_path / "x.safetensors")
    if family.name == "if":
        with pytest.raises(ModelError, match="from folders alone"):
            loading.load(tmp_path / "x.safetensors", "cpu", torch.float32, config=configs)
        return
    backbone = loading.load(tmp_path / "x.safetensors", "cpu", torch.float32, config=configs)
    assert backbone.fingerprint == family.backbone(pipeline).fingerprint
    assert backbone.dtype == torch.float32


@pytest.mark.parametrize("module", [stable_diffusion, stable_diffusion_xl, stable_diffusion_3, flux])
def test_a_files_parts_are_those_that_diffusers_knows(module: Any) -> None:
    known = CHECKPOINT_KEY_NAMES.values()
    flat = [name for each in known for name in (each if isinstance(each, (list, tuple)) else [each])]
    flat += ["first_stage_model.encoder.conv_in.weight", "text_encoders.t5xxl.transformer.shared.weight"]
    for start in module.LAYOUT.in_file.values():
        assert any(name.startswith(start) for name in flat), start


def test_missing_tensors_are_an_error_not_a_random_model(tmp_path: Path) -> None:
    pipeline = build_pipeline()
    write(pipeline, tmp_path / "dog")
    whole = ldm.checkpoint(pipeline)
    for start in ("model.diffusion_model.", "first_stage_model.", "cond_stage_model."):
        lost = sorted(name for name in whole if name.startswith(start))[-1]
        save_file({name: each for name, each in whole.items() if name != lost}, tmp_path / "dog.safetensors")
        with pytest.raises(ModelError, match="lacks tensors of the model"):
            loading.load(tmp_path / "dog.safetensors", "cpu")


def test_what_neither_file_nor_folder_has_is_missed(tmp_path: Path) -> None:
    pipeline = build_pipeline()
    write(pipeline, tmp_path / "dog")
    whole = ldm.checkpoint(pipeline)
    network = {name: each for name, each in whole.items() if name.startswith("model.")}
    save_file(network, tmp_path / "dog.safetensors")
    with pytest.raises(ModelError, match=r"no weights in '.*vae'"):
        loading.load(tmp_path / "dog.safetensors", "cpu")
    shutil.rmtree(tmp_path / "dog")
    with pytest.raises(ModelError, match="holds weights alone: name a folder"):
        loading.load(tmp_path / "dog.safetensors", "cpu")


def test_a_pickled_file_needs_permission(tmp_path: Path) -> None:
    pipeline = build_pipeline()
    write(pipeline, tmp_path / "dog")
    torch.save({"state_dict": ldm.checkpoint(pipeline)}, tmp_path / "dog.ckpt")
    with pytest.raises(ModelError, match=r"pickled.*--allow-pickle"):
        loading.load(tmp_path / "dog.ckpt", "cpu")
    backbone = loading.load(tmp_path / "dog.ckpt", "cpu", allow_pickle=True)
    pipeline.save_pretrained(tmp_path / "whole")
    assert backbone.fingerprint == loading.load(tmp_path / "whole", "cpu").fingerprint


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    for name, match in (("dog.png", "no checkpoint"), ("dog.safetensors", r"no model_index\.json")):
        (tmp_path / name).write_bytes(b"\x00" * 64)
        with pytest.raises(ModelError, match=match):
            loading.load(tmp_path / name, "cpu")
    write(build_pipeline(), tmp_path / "dog")
    with pytest.raises(ModelError, match="could not be loaded"):
        loading.load(tmp_path / "dog.safetensors", "cpu")
    with pytest.raises(OptionError, match="config belongs to a single-file"):
        loading.load(tmp_path / "dog", "cpu", config=tmp_path)
