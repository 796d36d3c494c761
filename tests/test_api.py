"""The Python interface on a tiny random model: what goes in, what comes out, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import imagic
from imagic import api
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import ImageError, ModelError, OptionError, OutputError, StateError, TextError
from imagic.core.provenance import read_record
from imagic.core.types import Progress
from tests.conftest import build_pipeline

FIT = {"embedding_steps": 2, "embedding_pairs": 1, "network_steps": 2, "network_pairs": 1, "measured_pairs": 2}
EDIT = {"candidates": 3, "refine": 0, "search_steps": 2, "agreement_pairs": 2, "num_steps": 2, "fresh_noise": 0.3}
TEXT = "a sitting dog"


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """30 x 40 pixels of noise with transparency."""
    return np.random.default_rng(1).integers(0, 256, (30, 40, 4), dtype=np.uint8)


@pytest.fixture(scope="module")
def fitted(backbone: StableDiffusionBackbone, pixels: Any) -> api.Fit:
    return imagic.fit(pixels, TEXT, model=backbone, options=FIT)


def weights(backbone: StableDiffusionBackbone) -> Mapping[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.unet.state_dict().items()}


def test_a_path_a_pil_image_and_an_array_are_one_picture(
    backbone: StableDiffusionBackbone, pixels: Any, tmp_path: Path
) -> None:
    image = Image.fromarray(pixels)
    image.save(tmp_path / "dog.png")
    made = [
        imagic.edit(given, TEXT, model=backbone, eta=1.0, plain=True, options=FIT | EDIT).images[0]
        for given in (tmp_path / "dog.png", str(tmp_path / "dog.png"), image, pixels)
    ]
    assert made[0].size == image.size
    assert made[0].mode == "RGBA"
    assert all(np.array_equal(np.asarray(made[0]), np.asarray(other)) for other in made[1:])
    assert np.array_equal(np.asarray(made[0])[..., 3], pixels[..., 3])
    assert not np.array_equal(np.asarray(made[0]), pixels)


def test_at_the_models_size_the_plain_result_is_the_methods_picture(backbone: StableDiffusionBackbone) -> None:
    square = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    made = imagic.edit(square, TEXT, model=backbone, eta=0.5, plain=True, options=FIT | EDIT)
    levels = (made.chosen[0].image.permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(np.asarray(made.images[0]) - levels).max() < 0.5 + 1e-3  # a tie may be rounded either way


def test_automatic_eta_carries_the_whole_sweep(fitted: api.Fit) -> None:
    made = imagic.edit(fitted, num_seeds=2, options=EDIT)
    assert made.seeds == (0, 1)
    for seed in made.seeds:
        assert {each.strength for each in made.sweep if each.seed == seed} >= {0.0, 0.5, 1.0}
    assert all(0 <= eta <= 1 for eta in made.etas)
    assert [record.strength for record in made.records] == list(made.etas)


def test_an_image_does_not_depend_on_the_other_seeds(fitted: api.Fit) -> None:
    both = imagic.edit(fitted, seed=3, num_seeds=2, eta=0.8, plain=True, options=EDIT)
    alone = imagic.edit(fitted, seed=4, eta=0.8, plain=True, options=EDIT)
    assert both.picture(1).pixels_sha256 == alone.picture(0).pixels_sha256
    assert both.picture(0).pixels_sha256 != alone.picture(0).pixels_sha256


def test_several_etas_give_an_image_each(fitted: api.Fit, tmp_path: Path) -> None:
    made = imagic.edit(fitted, eta=[0, 0.5, 1], plain=True, options=EDIT)
    assert made.etas == (0, 0.5, 1)
    paths = made.save(tmp_path / "out.png")
    assert [path.name for path in paths] == ["out-eta0.png", "out-eta0.5.png", "out-eta1.png"]
    assert [read_record(path) for path in paths] == list(made.records)
    with pytest.raises(OutputError, match="exists already"):
        made.save(tmp_path / "out.png")
    made.sheet(tmp_path / "sheet.png")
    made.animate(tmp_path / "sweep.webp")
    with Image.open(tmp_path / "sweep.webp") as moving:
        assert moving.size == (40, 30)


def test_a_saved_fit_edits_as_the_fresh_one(fitted: api.Fit, pixels: Any, tmp_path: Path) -> None:
    fitted.save(tmp_path / "fit.safetensors")
    again = api.Fit.load(tmp_path / "fit.safetensors", pixels, fitted.backbone)
    assert again.record == fitted.record
    before, after = (imagic.edit(each, eta=0.6, plain=True, options=EDIT).picture(0) for each in (fitted, again))
    assert before.pixels_sha256 == after.pixels_sha256
    with pytest.raises(ImageError, match="not the image"):
        api.Fit.load(tmp_path / "fit.safetensors", 255 - pixels, fitted.backbone)
    other = StableDiffusionBackbone.from_pipeline(build_pipeline(beta_end=0.02), name="other")
    with pytest.raises(StateError, match="made with the model 'tiny'"):
        api.Fit.load(tmp_path / "fit.safetensors", pixels, other)


def test_redo_makes_the_picture_again_and_names_what_changed_since(fitted: api.Fit, pixels: Any) -> None:
    made = imagic.edit(fitted, eta=(0.3, 0.9), plain=True, options=EDIT)
    again = api.redo(made.records[1], pixels, model=fitted.backbone)
    assert again.records == (made.records[1],)
    assert again.picture(0).pixels_sha256 == made.picture(1).pixels_sha256
    assert not any("may differ" in sentence for sentence in again.warnings)
    old = made.records[1].model_copy(update={"versions": made.records[1].versions | {"torch": "1.0"}})
    now = torch.__version__
    assert any(
        f"torch 1.0 is now {now.split('+')[0]}" in each
        for each in api.redo(old, pixels, model=fitted.backbone).warnings
    )
    foreign = old.model_copy(update={"model_fingerprint": "0" * 64})
    with pytest.raises(ModelError, match="not the model 'tiny'"):
        api.redo(foreign, pixels, model=fitted.backbone)


def test_progress_is_reported_in_order(backbone: StableDiffusionBackbone, pixels: Any) -> None:
    seen: list[Progress] = []
    imagic.edit(pixels, TEXT, model=backbone, eta=0.5, options=FIT | EDIT, on_progress=seen.append)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages[:2] == ["embedding", "network"]
    assert len(stages) > 2
    for stage in stages:
        steps = [progress.step for progress in seen if progress.stage == stage]
        assert steps == sorted(steps)
        assert all(
            step <= progress.total for step, progress in zip(steps, seen, strict=False) if progress.stage == stage
        )


def test_an_exception_in_the_callback_stops_the_work_and_restores_the_weights(
    backbone: StableDiffusionBackbone, pixels: Any
) -> None:
    before = weights(backbone)

    def stop(progress: Progress) -> None:
        if progress.stage == "network":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imagic.fit(pixels, TEXT, model=backbone, options=FIT | {"network_lr": 1.0}, on_progress=stop)
    after = weights(backbone)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in backbone.unet.parameters())


def test_unknown_words_and_cut_texts_are_named_in_the_warnings(backbone: StableDiffusionBackbone, pixels: Any) -> None:
    text = "a wug dog on the grass a photo of a cat sitting"
    fitted = imagic.fit(pixels, text, model=backbone, options=FIT)
    assert any("'wug'" in sentence for sentence in fitted.warnings)
    assert any("'of a cat sitting'" in sentence and "too long" in sentence for sentence in fitted.warnings)
    assert set(fitted.warnings) <= set(imagic.edit(fitted, eta=0.5, options=EDIT).warnings)


@pytest.mark.parametrize("text", ["", " ", "x" * 2001])
def test_texts_without_use_are_refused(pixels: Any, text: str) -> None:
    with pytest.raises(TextError):
        imagic.edit(pixels, text, model="nowhere")


@pytest.mark.parametrize(
    "arguments",
    [
        {"options": {"network_step": 1}},
        {"options": {"num_steps": 0}},
        {"eta": "much"},
        {"eta": []},
        {"eta": 9.0},
        {"seed": -1},
        {"seed": 2**32},
        {"num_seeds": 0},
        {"preset": "slow"},
        {"method": "nonsense"},
    ],
)
def test_wrong_arguments_are_refused_before_the_model_is_loaded(pixels: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        imagic.edit(pixels, TEXT, model="nowhere", **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"model": "tiny"}, {"method": "imagic"}, {"crop": (0, 0, 20, 20)}, {"options": {"network_steps": 3}}],
)
def test_what_belongs_to_the_fit_is_refused_with_a_fit(fitted: api.Fit, arguments: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="fit"):
        imagic.edit(fitted, **arguments)


def test_fit_refuses_options_of_editing(backbone: StableDiffusionBackbone, pixels: Any) -> None:
    with pytest.raises(OptionError, match="num_steps"):
        imagic.fit(pixels, TEXT, model=backbone, options={"num_steps": 3})


def test_an_animation_needs_two_strengths(fitted: api.Fit, tmp_path: Path) -> None:
    made = imagic.edit(fitted, eta=0.0, options=EDIT)
    with pytest.raises(OptionError, match="two strengths"):
        made.animate(tmp_path / "sweep.gif")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name_or_path": "nowhere"}, ModelError),
        ({"device": "abacus"}, OptionError),
        ({"dtype": "float7"}, OptionError),
    ],
)
def test_models_that_cannot_be_loaded_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        imagic.load_model(**arguments)


def test_a_folder_is_loaded_in_the_asked_precision(tmp_path: Path) -> None:
    build_pipeline().save_pretrained(tmp_path / "tiny")
    assert imagic.load_model(tmp_path / "tiny", "cpu", "bfloat16").dtype == torch.bfloat16
