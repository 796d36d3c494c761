"""Where weights come from, and what is done with those that cannot be trusted or used."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from imagic.core import registry
from imagic.core.errors import NotAvailable, OptionError
from imagic.core.registry import Group
from imagic.metrics.pretrained import load_model, load_processor, load_tokenizer
from imagic.metrics.psnr import PSNR
from imagic.metrics.weights import ENVIRONMENT, build, identity, locate, parse
from tests.metrics.tiny import clip_folder, vit_folder

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


def test_paths_by_name():
    assert parse(["clip=a/b", "dino=~/c=d"]) == {"clip": Path("a/b"), "dino": Path.home() / "c=d"}
    for wrong in ("clip", "=path", "clip="):
        with pytest.raises(OptionError, match="name=path"):
            parse([wrong])


def test_a_given_path_goes_before_the_environments(tmp_path, monkeypatch):
    with pytest.raises(NotAvailable, match=r"'clip' are not given: write clip=PATH after .* IMAGIC_METRIC_WEIGHTS"):
        locate("clip", None)
    paths = {name: tmp_path / name for name in ("given", "clip", "dino")}
    for path in paths.values():
        path.mkdir()
    monkeypatch.setenv(ENVIRONMENT, f"clip={paths['clip']}{os.pathsep}dino={paths['dino']}")
    assert locate("clip", None) == paths["clip"]
    assert locate("dino", None) == paths["dino"]
    assert locate("clip", paths["given"]) == paths["given"]
    with pytest.raises(NotAvailable, match=r"are not at .*nowhere: correct the path"):
        locate("clip", tmp_path / "nowhere")


def test_only_what_has_weights_is_given_some(tmp_path):
    class Weighted:
        weights_name = "mine"

        def __init__(self, weights=None):
            self.weights = weights

    (tmp_path / "model.safetensors").write_bytes(b"1")
    made, known = build(Weighted, {"mine": tmp_path, "other": tmp_path / "nowhere"})
    assert made.weights == tmp_path
    assert known == identity(tmp_path)
    assert build(PSNR, {"psnr": tmp_path}) == (PSNR(), "")
    with pytest.raises(NotAvailable, match="'mine' are not given"):
        build(Weighted, {"other": tmp_path})


def test_identity_is_of_the_content(tmp_path):
    folders = [tmp_path / "one" / "clip", tmp_path / "two" / "clip"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"tensors")
        (folder / "config.json").write_text("{}")
    first = identity(folders[0])
    assert re.fullmatch(r"clip [0-9a-f]{12}", first)
    assert identity(folders[1]) == first
    (folders[1] / "notes.txt").write_text("of no consequence")
    assert identity(folders[1]) == first
    (folders[1] / "config.json").write_text('{"patch_size": 8}')
    assert identity(folders[1]) != first
    assert identity(folders[0] / "model.safetensors").startswith("model.safetensors ")


def test_no_pickle_is_opened(tmp_path):
    vit_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(NotAvailable, match="could not be loaded"):
        load_model(tmp_path, CPU)
    assert not (tmp_path / "exploded").exists()


def test_no_code_of_a_checkpoint_runs(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"model_type": "odd", "auto_map": {"AutoConfig": "odd.C", "AutoModel": "odd.M"}}'
    )
    (tmp_path / "odd.py").write_text(f"open({str(tmp_path / 'exploded')!r}, 'w')\n")
    with pytest.raises(NotAvailable, match="could not be loaded"):
        load_model(tmp_path, CPU)
    assert not (tmp_path / "exploded").exists()


def test_a_model_must_be_whole(tmp_path):
    vit_folder(tmp_path)
    load_model(tmp_path, CPU)  # the pooler, which DINO's checkpoints lack, is not needed
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if "layer" in name and name.endswith("key.weight"))
    save_file({k: v for k, v in tensors.items() if k != name}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(NotAvailable, match="lacks 1 tensors"):
        load_model(tmp_path, CPU)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(NotAvailable, match="could not be loaded"):
        load_model(tmp_path, CPU)


def test_a_loaded_model_is_frozen_and_silent(tmp_path, capfd):
    clip_folder(tmp_path)
    capfd.readouterr()
    model = load_model(tmp_path, CPU)
    load_processor(tmp_path)
    load_tokenizer(tmp_path)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert capfd.readouterr() == ("", "")


def test_the_tokenizer_and_the_preparation_must_be_there(tmp_path):
    vit_folder(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(NotAvailable, match="could not be loaded"):
        load_processor(tmp_path)
    with pytest.raises(NotAvailable, match=r"neither tokenizer\.json nor vocab\.json"):
        load_tokenizer(tmp_path)
    clip_folder(tmp_path)
    assert load_tokenizer(tmp_path)("a dog").input_ids


def test_metrics_without_a_network_do_not_import_transformers():
    code = (
        "import sys; from imagic.core import registry\n"
        "for group in (registry.Group.METRICS, registry.Group.SET_METRICS, registry.Group.EXTRACTORS):\n"
        "    [registry.find(group, name) for name in registry.names(group)]\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_metric_extractor_and_name_of_weights_is_documented():
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for group in (Group.METRICS, Group.SET_METRICS, Group.EXTRACTORS):
        for name in registry.names(group):
            kind = registry.find(group, name)
            assert kind.name == name
            assert f"`{name}`" in page
            assert f"`{getattr(kind, 'weights_name', name)}`" in page
