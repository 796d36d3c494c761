"""Masks through the Python interface: any method keeps what is black, and an edit is made again with its mask alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import imagic
from imagic import api
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import AbilityError, ImageError, OptionError, OutputError, TextError
from imagic.core.masks import Mask
from imagic.core.provenance import Record, read_record
from imagic.core.text_mask import EMPTY
from imagic.core.types import Ability
from tests.conftest import build_pipeline

TEXT, SOURCE = "a sitting dog", "a standing cat"
FOUND: dict[str, Any] = {"mask_noises": 2, "mask_threshold": 0.5}  # a random network differs everywhere
SDEDIT: dict[str, Any] = {"method": "sdedit", "options": {"num_steps": 3}}
DIFFEDIT: dict[str, Any] = {"method": "diffedit", "options": {"num_steps": 3, "mask_noises": 2}}
IMAGIC: dict[str, Any] = {
    "method": "imagic",
    "eta": 1.0,
    "options": {
        **{"embedding_steps": 1, "embedding_pairs": 1, "network_steps": 1, "network_pairs": 1, "measured_pairs": 1},
        "num_steps": 2,
    },
}


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """60 x 80 pixels of noise."""
    return np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def left() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """White in the left half."""
    plane = np.zeros((60, 80), np.uint8)
    plane[:, :40] = 255
    return plane


def edit(image: Any, backbone: StableDiffusionBackbone, how: dict[str, Any], **values: Any) -> api.Edited:
    options = how["options"] | values.pop("options", {})
    return imagic.edit(image, TEXT, model=backbone, plain=True, **(how | values | {"options": options}))


def changed(made: api.Edited, pixels: Any) -> Any:
    """Where the first picture differs from the input: bool (H, W)."""
    return (np.asarray(made.images[0]) != pixels).any(axis=-1)


@pytest.mark.parametrize("how", [SDEDIT, DIFFEDIT, IMAGIC], ids=lambda how: how["method"])
def test_outside_a_given_mask_every_pixel_stays(
    backbone: StableDiffusionBackbone, pixels: Any, left: Any, how: dict[str, Any]
) -> None:
    made = edit(pixels, backbone, how, mask=left)
    assert not changed(made, pixels)[:, 40:].any()
    assert changed(made, pixels)[:, :34].mean() > 0.9
    (mask,) = made.masks
    np.testing.assert_array_equal(mask.plane, left)
    other = edit(pixels, backbone, how, mask=left, options={"mask_invert": True})
    assert not changed(other, pixels)[:, :40].any()
    assert changed(other, pixels)[:, 46:].mean() > 0.9
    np.testing.assert_array_equal(other.masks[0].plane, 255 - left)
    assert changed(edit(pixels, backbone, how), pixels)[:, 46:].mean() > 0.3  # without a mask


@pytest.mark.parametrize("how", [SDEDIT, DIFFEDIT], ids=lambda how: how["method"])
def test_an_automatic_mask_is_found_for_each_seed_and_kept_to(
    backbone: StableDiffusionBackbone, pixels: Any, how: dict[str, Any]
) -> None:
    values = {"options": FOUND, "source_text": SOURCE}
    made = edit(pixels, backbone, how, mask="auto", num_seeds=2, seed=3, **values)
    assert len(made.masks) == 2
    for index, mask in enumerate(made.masks):
        assert 0.02 < mask.share < 0.98
        differs = (np.asarray(made.images[index]) != pixels).any(axis=-1)
        assert not differs[mask.plane == 0].any()
        assert differs[mask.plane > 0].mean() > 0.5
        found = imagic.find_mask(pixels, TEXT, SOURCE, model=backbone, seed=3 + index, options=FOUND)
        np.testing.assert_array_equal(found.plane, mask.plane)
    assert (made.masks[0].plane != made.masks[1].plane).any()


def test_a_saved_mask_gives_the_edit_that_it_came_from(backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    """At sizes where cells fall on pixels."""
    square = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    free = edit(square, backbone, DIFFEDIT)
    (path,) = free.save_masks(tmp_path / "mask.png")
    again = edit(square, backbone, DIFFEDIT, mask=path)
    assert torch.equal(free.chosen[0].image, again.chosen[0].image)
    assert torch.equal(free.results[0].mask, again.results[0].mask)
    with pytest.raises(OutputError, match="exists already"):
        free.save_masks(tmp_path / "mask.png")


def test_masks_of_several_seeds_are_named_by_them(
    backbone: StableDiffusionBackbone, pixels: Any, tmp_path: Path
) -> None:
    made = edit(pixels, backbone, DIFFEDIT, num_seeds=2, strength=[0.4, 0.9])
    assert [path.name for path in made.save_masks(tmp_path / "m.png")] == ["m-seed0.png", "m-seed1.png"]
    with pytest.raises(OptionError, match="no mask"):
        edit(pixels, backbone, SDEDIT).save_masks(tmp_path / "n.png")


def test_a_mask_is_given_to_a_fit_as_often_as_one_likes(
    backbone: StableDiffusionBackbone, pixels: Any, left: Any
) -> None:
    fitted = imagic.fit(pixels, TEXT, model=backbone, method="diffedit", options={"num_steps": 3})
    one, other = (imagic.edit(fitted, plain=True, mask=mask) for mask in (left, 255 - left))
    assert not changed(one, pixels)[:, 40:].any()
    assert not changed(other, pixels)[:, :40].any()
    assert fitted.state.tensors.keys() == {"z0", "trajectory"}


def test_a_given_mask_reaches_diffedit_itself(backbone: StableDiffusionBackbone, left: Any) -> None:
    square = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    mask = np.kron(np.eye(4, dtype=np.uint8) * 255, np.ones((8, 8), np.uint8))
    result = edit(square, backbone, DIFFEDIT, mask=mask).results[0]
    assert torch.equal(result.mask[0, 0], torch.eye(4).repeat_interleave(2, 0).repeat_interleave(2, 1))


@pytest.mark.parametrize("how", [SDEDIT, DIFFEDIT], ids=lambda how: how["method"])
@pytest.mark.parametrize("kind", ["given", "auto"])
def test_redo_needs_the_same_mask_and_makes_the_same_picture(
    backbone: StableDiffusionBackbone, pixels: Any, left: Any, tmp_path: Path, how: dict[str, Any], kind: str
) -> None:
    dog = tmp_path / "dog.png"
    Image.fromarray(pixels).save(dog)
    Image.fromarray(left).save(tmp_path / "mask.png")
    mask = tmp_path / "mask.png" if kind == "given" else "auto"
    options = {"mask_noises": 3, "mask_feather": 0.1, "mask_invert": True}
    made = edit(dog, backbone, how, mask=mask, seed=2, options=options, source_text=SOURCE)
    (path,) = made.save(tmp_path / "out.png")
    record = read_record(path)
    assert record.mask == kind
    assert (record.mask_options["mask_noises"], record.mask_options["mask_invert"]) == (3, True)
    given = {"mask": tmp_path / "mask.png"} if kind == "given" else {}
    again = api.redo(record, dog, model=backbone, **given)
    assert again.picture(0).pixels_sha256 == made.picture(0).pixels_sha256
    assert again.records == (record,)
    if kind == "given":
        lossless = tmp_path / "mask.webp"
        Image.fromarray(left).save(lossless, lossless=True)
        assert api.redo(record, dog, model=backbone, mask=lossless).picture(0) is not None
        with pytest.raises(ImageError, match="not the mask"):
            api.redo(record, dog, model=backbone, mask=255 - left)
        with pytest.raises(ImageError, match="give the same one again"):
            api.redo(record, dog, model=backbone)
    else:
        with pytest.raises(ImageError, match="leave the mask out"):
            api.redo(record, dog, model=backbone, mask=left)


def test_a_found_mask_is_known_again_by_its_file(
    backbone: StableDiffusionBackbone, pixels: Any, tmp_path: Path
) -> None:
    found = imagic.find_mask(pixels, TEXT, model=backbone, options=FOUND)
    found.save(tmp_path / "found.png")
    for mask, name in ((found, "found.png"), (found.inverted(), "inverted.png")):
        made = edit(pixels, backbone, SDEDIT, mask=mask)
        mask.save(tmp_path / name, overwrite=True)
        again = api.redo(made.records[0], pixels, model=backbone, mask=tmp_path / name)
        assert again.picture(0).pixels_sha256 == made.picture(0).pixels_sha256
    with pytest.raises(ImageError, match="not the mask"):
        api.redo(made.records[0], pixels, model=backbone, mask=tmp_path / "found.png")


def test_records_of_edits_without_masks_are_read_as_before(
    backbone: StableDiffusionBackbone, pixels: Any, left: Any
) -> None:
    record = edit(pixels, backbone, SDEDIT).records[0]
    assert (record.mask, record.mask_sha256, record.mask_pixels_sha256, record.mask_options) == ("", "", "", {})
    old = {name: value for name, value in record.model_dump().items() if not name.startswith("mask")}
    assert Record(**old) == record


def test_equal_texts_give_an_empty_mask_and_the_input(backbone: StableDiffusionBackbone, pixels: Any) -> None:
    for how in (SDEDIT, DIFFEDIT):
        made = edit(pixels, backbone, how, mask="auto", source_text=TEXT)
        assert not changed(made, pixels).any()
        assert EMPTY in made.warnings
        assert made.masks[0].share == 0
    assert EMPTY in imagic.find_mask(pixels, TEXT, TEXT, model=backbone).notes


def test_a_crop_and_a_mask_meet(backbone: StableDiffusionBackbone, pixels: Any, left: Any) -> None:
    made = edit(pixels, backbone, SDEDIT, mask=left, crop=(20, 10, 40, 40))
    inside = np.zeros((60, 80), bool)
    inside[10:50, 20:40] = True
    assert not changed(made, pixels)[~inside].any()
    assert changed(made, pixels)[15:45, 24:36].mean() > 0.9
    with pytest.raises(ImageError, match=r"within the crop is black.*white"):
        edit(pixels, backbone, SDEDIT, mask=left, crop=(40, 10, 40, 40))
    found = imagic.find_mask(pixels, TEXT, model=backbone, crop=(20, 10, 40, 40))
    assert not found.plane[:, :20].any()
    assert found.plane[10:50, 20:60].any()


@pytest.mark.parametrize(
    ("values", "error", "sentence"),
    [
        ({"mask": np.zeros((60, 80), np.uint8)}, ImageError, "black, so nothing could change: paint white"),
        (
            {"mask": np.full((60, 80), 255, np.uint8), "options": {"mask_invert": True}},
            ImageError,
            "white, so nothing could change: paint black",
        ),
        ({"mask": "no.png"}, ImageError, "does not exist"),
        ({"mask": np.random.default_rng(0).random((60, 80, 3))}, ImageError, "colours"),
        ({"mask": Mask(np.full((6, 8), 255, np.uint8))}, ImageError, "another picture"),
        ({"options": {"mask_feather": 0.1}}, OptionError, "no mask that mask_feather"),
        ({"mask": "auto", "options": {"mask_threshold": 2.0}}, OptionError, "mask_threshold"),
        ({"mask": "auto", "options": {"mask_thresh": 0.2}}, OptionError, "mask_thresh"),
    ],
)
def test_wrong_masks_are_refused_before_the_model_is_loaded(
    pixels: Any, values: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        imagic.edit(pixels, TEXT, model="nowhere", method="sdedit", **values)


def test_what_find_mask_cannot_do_is_refused(pixels: Any, left: Any) -> None:
    for text in ("", " "):
        with pytest.raises(TextError):
            imagic.find_mask(pixels, text, model="nowhere")
    with pytest.raises(OptionError, match="mask_noises"):
        imagic.find_mask(pixels, TEXT, model="nowhere", options={"mask_noises": 0})
    unguided = StableDiffusionBackbone.from_pipeline(build_pipeline(), name="tiny")
    unguided.abilities = frozenset({Ability.INVERSION})
    with pytest.raises(AbilityError, match="mask file"):
        imagic.find_mask(pixels, TEXT, model=unguided)


def test_other_proportions_are_named_in_the_warnings(backbone: StableDiffusionBackbone, pixels: Any) -> None:
    made = edit(pixels, backbone, SDEDIT, mask=np.full((60, 60), 255, np.uint8))
    assert any("stretched" in sentence for sentence in made.warnings)
    assert changed(made, pixels).mean() > 0.9
