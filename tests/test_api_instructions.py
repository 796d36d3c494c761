"""The Python interface with methods whose text is an instruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import imagic
from imagic import api
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.options import build_options
from imagic.core.registry import method
from imagic.core.types import FitRequest
from tests.instructing import instructed_backbone
from tests.methods.running import edit, fit

METHOD = "instruct_pix2pix"
TEXT = "make the dog sitting"
FAST = {"num_steps": 4}
Image = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return instructed_backbone(adapter=True, word_level=True)


@pytest.fixture(scope="module")
def pixels() -> Image:
    return np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_the_one_text_is_the_instruction(pixels: Image, backbone: StableDiffusionBackbone) -> None:
    edited = imagic.edit(pixels, TEXT, model=backbone, method=METHOD, options=FAST, seed=2, plain=True)
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    chosen = method(METHOD)
    state = fit(chosen, backbone, FitRequest(image, "", instruction=TEXT, seed=2))
    (expected,) = edit(chosen, backbone, state, (2,), **FAST).chosen
    torch.testing.assert_close(edited.chosen[0].image, expected.image, rtol=0, atol=1e-5)
    assert edited.records[0].target_text == TEXT
    other = imagic.edit(pixels, "make the cat standing", model=backbone, method=METHOD, options=FAST, seed=2)
    assert not torch.equal(other.chosen[0].image, edited.chosen[0].image)


def test_a_fit_follows_other_instructions(pixels: Image, backbone: StableDiffusionBackbone) -> None:
    fitted = api.fit(pixels, "make it a cat", model=backbone, method=METHOD)
    edited = imagic.edit(fitted, TEXT, options=FAST)
    assert edited.records[0].edit_options["instruction"] == TEXT
    known = imagic.edit(pixels, TEXT, model=backbone, method=METHOD, options=FAST)
    assert torch.equal(edited.chosen[0].image, known.chosen[0].image)


def test_it_is_made_again_from_its_record(pixels: Image, backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    edited = imagic.edit(pixels, TEXT, model=backbone, method=METHOD, options=FAST, strength=0.25)
    again = api.redo(edited.records[0], pixels, model=backbone)
    assert torch.equal(again.chosen[0].image, edited.chosen[0].image)


def test_words_of_instructions_are_not_called_unknown(pixels: Image, backbone: StableDiffusionBackbone) -> None:
    fitted = api.fit(pixels, TEXT, model=backbone, method=METHOD)
    assert not any("does not know" in sentence for sentence in fitted.warnings)
    (warning,) = api.text_warnings(backbone, TEXT, "sdedit")
    assert "does not know 'make'" in warning
    assert build_options(method(METHOD).EditOptions, {}).instruction == ""
