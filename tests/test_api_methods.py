"""The Python interface with methods other than Imagic: one strength for all, records, other targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imagic
from imagic import api
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import OptionError, TextError
from tests.conftest import build_pipeline

SOURCE, TEXT = "a standing dog", "a sitting dog"
FAST = {"num_steps": 4}
Image = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny")


@pytest.fixture(scope="module")
def pixels() -> Image:
    return np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def edit(pixels: Image, backbone: StableDiffusionBackbone, method: str, **values: Any) -> api.Edited:
    return imagic.edit(pixels, TEXT, model=backbone, method=method, source_text=SOURCE, options=FAST, **values)


def test_strength_and_eta_are_two_names_of_one_thing(pixels: Image, backbone: StableDiffusionBackbone) -> None:
    one = edit(pixels, backbone, "sdedit", strength=0.6)
    other = edit(pixels, backbone, "sdedit", eta=0.6)
    assert one.strengths == one.etas == other.strengths == (0.6,)
    assert one.picture(0).pixels_sha256 == other.picture(0).pixels_sha256
    assert edit(pixels, backbone, "sdedit").strengths == (0.8,)  # the method's own choice
    with pytest.raises(OptionError, match="not both"):
        edit(pixels, backbone, "sdedit", strength=0.6, eta=0.6)


def test_at_strength_0_the_picture_is_the_input(pixels: Image, backbone: StableDiffusionBackbone) -> None:
    for method in ("sdedit", "encode_decode", "cycle_diffusion"):
        made = edit(pixels, backbone, method, strength=0.0)
        assert np.array_equal(np.asarray(made.images[0]), pixels)


@pytest.mark.parametrize("method", ["sdedit", "encode_decode", "ddib", "cycle_diffusion"])
def test_a_picture_is_made_again_from_its_record(pixels: Image, backbone: StableDiffusionBackbone, method: str) -> None:
    strengths = {} if method == "ddib" else {"strength": (0.5, 1.0)}
    made = edit(pixels, backbone, method, plain=True, seed=3, **strengths)
    record = made.records[-1]
    assert (record.method, record.strength, record.seed, record.source_text) == (method, 1.0, 3, SOURCE)
    again = api.redo(record, pixels, model=backbone)
    assert again.records == (record,)
    assert again.picture(0).pixels_sha256 == made.picture(len(made.records) - 1).pixels_sha256


def test_one_fit_serves_other_targets(pixels: Image, backbone: StableDiffusionBackbone) -> None:
    fitted = imagic.fit(pixels, TEXT, model=backbone, method="ddib", source_text=SOURCE, options=FAST)
    made = imagic.edit(fitted, "a cat", plain=True)
    assert made.records[0].target_text == "a cat"
    direct = imagic.edit(pixels, "a cat", model=backbone, method="ddib", source_text=SOURCE, options=FAST, plain=True)
    assert made.picture(0).pixels_sha256 == direct.picture(0).pixels_sha256
    assert made.picture(0).pixels_sha256 != imagic.edit(fitted, plain=True).picture(0).pixels_sha256
    assert api.redo(made.records[0], pixels, model=backbone).records == made.records


def test_several_strengths_are_named_in_files_and_on_the_sheet(
    pixels: Image, backbone: StableDiffusionBackbone, tmp_path: Path
) -> None:
    made = edit(pixels, backbone, "cycle_diffusion", strength=[0.5, 1])
    assert [path.name for path in made.save(tmp_path / "out.png")] == ["out-strength0.5.png", "out-strength1.png"]
    made.sheet(tmp_path / "sheet.png")
    made.animate(tmp_path / "sweep.gif")


def test_a_method_without_a_strength_or_without_its_text_says_so(
    pixels: Image, backbone: StableDiffusionBackbone
) -> None:
    with pytest.raises(OptionError, match="'ddib' has no strength"):
        edit(pixels, backbone, "ddib", strength=0.5)
    with pytest.raises(OptionError, match="between 0"):
        edit(pixels, backbone, "sdedit", strength=1.5)
    for method in ("ddib", "cycle_diffusion"):
        with pytest.raises(TextError, match="source text"):
            imagic.edit(pixels, TEXT, model=backbone, method=method, options=FAST)


def test_seeds_without_effect_are_named_in_a_warning(pixels: Image, backbone: StableDiffusionBackbone) -> None:
    def warned(method: str, num_seeds: int) -> bool:
        made = edit(pixels, backbone, method, num_seeds=num_seeds)
        return any("All seeds gave the same picture" in sentence for sentence in made.warnings)

    assert warned("encode_decode", 2)
    assert not warned("encode_decode", 1)
    assert not warned("sdedit", 2)
