"""The Python interface with the method that paints a layer: pictures of full size, and their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imagic
from imagic import api
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import NotAvailable, TextError
from tests.conftest import build_pipeline
from tests.metrics.tiny import clip_folder

TEXTS: dict[str, Any] = {"method": "text2live", "source_text": "a cat"}
FAST = {"num_steps": 2, "views": 1, "width": 4, "scales": 2}
Image = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return StableDiffusionBackbone.from_pipeline(build_pipeline(), name="tiny")


@pytest.fixture(scope="module")
def pixels() -> Image:
    return np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    clip_folder(folder)
    return str(folder)


def test_the_layer_lies_over_the_picture_of_full_size(
    pixels: Image, backbone: StableDiffusionBackbone, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**FAST, "encoder": encoder}
    edited = imagic.edit(pixels, "a dog", model=backbone, strength=[0, 1], options=options, **TEXTS)
    none, whole = (np.asarray(image) for image in edited.images)
    assert none.shape == pixels.shape
    assert np.array_equal(none, pixels)
    assert abs(whole.astype(int) - pixels).max() > 5
    # A record holds no folders of a machine: it is made again where one of that name lies.
    monkeypatch.chdir(Path(encoder).parent)
    assert edited.records[1].fit_options["encoder"] == Path(encoder).name
    again = api.redo(edited.records[1], pixels, model=backbone)
    assert np.array_equal(np.asarray(again.images[0]), whole)


def test_what_is_missing_is_one_sentence(pixels: Image, backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="no folder"):
        imagic.edit(pixels, "a dog", model=backbone, options={"encoder": str(tmp_path / "no")}, **TEXTS)
    with pytest.raises(TextError, match="needs a source text"):
        imagic.edit(pixels, "a dog", model=backbone, method="text2live")
