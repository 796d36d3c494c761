"""Names to models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from imagic.backbones import loading
from imagic.core.errors import ModelError, OptionError
from tests.conftest import MakePipeline


@pytest.mark.parametrize(
    ("pipeline_class", "family"),
    [
        ("StableDiffusionPipeline", "stable-diffusion"),
        ("StableDiffusionXLPipeline", "stable-diffusion-xl"),
        ("StableDiffusion3Pipeline", "stable-diffusion-3"),
        ("FluxPipeline", "flux"),
        ("ZImagePipeline", "zimage"),
        ("IFPipeline", "if"),
    ],
)
def test_a_pipeline_class_names_its_family(pipeline_class: str, family: str) -> None:
    assert loading.family_name(pipeline_class) == family


def test_a_folder_is_loaded_through_the_registry(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    make_pipeline(prediction_type="v_prediction").save_pretrained(tmp_path)
    backbone = loading.load(str(tmp_path), device="cpu", autocast=torch.bfloat16)
    assert backbone.name == str(tmp_path)
    assert backbone.device == torch.device("cpu")
    assert backbone.prediction == "v"


def test_a_folder_comes_before_a_hub_id_of_its_name(
    make_pipeline: MakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pipeline().save_pretrained(tmp_path / "someone" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert loading.load("someone/tiny", device="cpu").name == "someone/tiny"


def test_a_revision_of_what_is_here_is_refused(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    make_pipeline().save_pretrained(tmp_path)
    for name in (str(tmp_path), "menagerie"):
        with pytest.raises(OptionError, match="revision belongs to a model of the hub"):
            loading.load(name, revision="main")


def test_every_alias_names_a_model_or_a_cascade() -> None:
    assert not loading.ALIASES.keys() & loading.BUNDLED.keys()
    ids = [model_id for name in loading.ALIASES.values() for model_id in name.split("+")]
    assert all(model_id.count("/") == 1 for model_id in ids)


def test_an_alias_is_a_folder_of_the_package(
    make_pipeline: MakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pipeline().save_pretrained(tmp_path / "weights" / "model")
    monkeypatch.setattr(loading, "files", lambda package: tmp_path)
    monkeypatch.setattr(loading, "BUNDLED", {"bundled": "weights/model", "lost": "nowhere"})
    assert loading.load("bundled", device="cpu").name == "bundled"
    with pytest.raises(ModelError, match="'lost' is missing from this installation"):
        loading.locate("lost")


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ModelError, match="There is no model 'someone/something' in the hub's cache"):
        loading.load("someone/something")
    for name in ("sdxxl", "/nowhere/at/all", "a/b/c", "a b/c", "../x", ""):
        with pytest.raises(ModelError, match=r"There is no model|has no model_index"):
            loading.load(name)
    with pytest.raises(ModelError, match=r"has no model_index\.json"):
        loading.load(tmp_path)
    index = tmp_path / "model_index.json"
    for damaged in ("{", "[]", "{}", '{"_class_name": 3}'):
        index.write_text(damaged)
        with pytest.raises(ModelError, match="damaged"):
            loading.load(tmp_path)
    index.write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
    with pytest.raises(ModelError, match=r"KandinskyPipeline are not supported; known families: .*stable-diffusion"):
        loading.load(tmp_path)
