"""`imagic mask`, and --mask in `imagic edit` and `imagic redo`: files, names, streams and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagic.core.provenance import read_record
from tests.cli.conftest import Run

TEXT = "a sitting dog"


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def mask(run: Run, model_folder: Path, picture: Path) -> Run:
    """Run `imagic mask` on the picture with the tiny model, few noises, and further arguments."""

    def call(*arguments: str | Path) -> Any:
        return run("mask", picture, TEXT, "--model", model_folder, "--set", "mask_noises=2", *arguments)

    return call


@pytest.fixture
def change(run: Run, model_folder: Path, picture: Path) -> Run:
    """Run `imagic edit` with a quick method and further arguments."""

    def call(*arguments: str | Path, method: str = "sdedit") -> Any:
        return run("edit", picture, TEXT, "--model", model_folder, "--method", method, "--num-steps", "3", *arguments)

    return call


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A mask of twice the picture's size, white in the left half."""
    plane = np.zeros((60, 80), np.uint8)
    plane[:, :40] = 255
    Image.fromarray(plane).save(tmp_path / "left.png")
    return tmp_path / "left.png"


def test_a_mask_of_the_pictures_size_is_written_and_its_path_printed_alone(mask: Run, tmp_path: Path) -> None:
    done = mask("--reference", "a standing cat")
    path = tmp_path / "dog-a-sitting-dog-mask.png"
    assert done.exit_code == 0
    assert done.stdout == f"{path}\n"
    assert pixels(path).shape == (30, 40)
    assert set(np.unique(pixels(path))) == {0, 255}
    assert mask().stdout == f"{tmp_path / 'dog-a-sitting-dog-mask-2.png'}\n"
    assert (pixels(tmp_path / "dog-a-sitting-dog-mask-2.png") != pixels(path)).any()  # compared with no text


def test_json_says_how_much_may_change(mask: Run, tmp_path: Path) -> None:
    done = mask("-o", tmp_path / "m.png", "--json", "--seed", "3", "--reference", "a wug")
    said = json.loads(done.stdout)
    assert said["version"] == 1
    assert said["mask"] == str(tmp_path / "m.png")
    assert said["share"] == pytest.approx((pixels(tmp_path / "m.png") / 255).mean())
    assert any("'wug'" in sentence for sentence in said["warnings"])
    assert "mask\n" in done.stderr


def test_inverted_and_feathered(mask: Run, tmp_path: Path) -> None:
    for name, arguments in {"a": (), "b": ("--invert-mask",), "c": ("--feather", "0.25")}.items():
        assert mask("-o", tmp_path / f"{name}.png", *arguments).exit_code == 0
    found, inverted, soft = (pixels(tmp_path / f"{name}.png").astype(int) for name in "abc")
    assert ((found + inverted) == 255).all()
    assert (soft[found == 0] == 0).all()
    assert ((soft > 0) & (soft < 255)).any()


def test_the_way_from_mask_to_edit_and_redo(
    mask: Run, change: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    found, out = tmp_path / "found.png", tmp_path / "out.png"
    # A random network differs everywhere: half of the largest leaves something out.
    assert mask("-o", found, "--set", "mask_threshold=0.5").exit_code == 0
    assert change("--mask", found, "-o", out).exit_code == 0
    black = pixels(found) == 0
    assert black.any()
    np.testing.assert_array_equal(pixels(out)[black], pixels(picture)[black])
    assert read_record(out).mask == "given"
    common = ("redo", out, "--image", picture, "--model", model_folder)
    assert run(*common, "--mask", found).exit_code == 0
    for wrong, sentence in ((("--mask", picture), "colours"), ((), "give the same one again")):
        refused = run(*common, *wrong)
        assert refused.exit_code == 1
        assert sentence in refused.stderr
        assert "Loading" not in refused.stderr


@pytest.mark.parametrize("method", ["sdedit", "diffedit"])
def test_a_given_mask_keeps_the_rest_at_full_size(
    change: Run, picture: Path, left: Path, tmp_path: Path, method: str
) -> None:
    out, again = tmp_path / "out.png", tmp_path / "mask.png"
    done = change("--mask", left, "--plain", "-o", out, "--save-mask", again, "--json", method=method)
    assert json.loads(done.stdout)["masks"] == [str(again)]
    np.testing.assert_array_equal(pixels(out)[:, 20:], pixels(picture)[:, 20:])
    assert (pixels(out)[:, :16] != pixels(picture)[:, :16]).any(-1).mean() > 0.9
    assert (pixels(again)[:, :20] == 255).all()
    assert (pixels(again)[:, 20:] == 0).all()
    inverted = tmp_path / "inverted.png"
    assert change("--mask", left, "--invert-mask", "--feather", "0.1", "-o", inverted, method=method).exit_code == 0
    np.testing.assert_array_equal(pixels(inverted)[:, :20], pixels(picture)[:, :20])


def test_an_automatic_mask_is_redone_without_a_file(
    change: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    masks = tmp_path / "m.png"
    assert change("--mask", "auto", "--num-seeds", "2", "-o", out, "--save-mask", masks).exit_code == 0
    for seed in (0, 1):
        made, black = tmp_path / f"out-seed{seed}.png", pixels(tmp_path / f"m-seed{seed}.png") == 0
        np.testing.assert_array_equal(pixels(made)[black], pixels(picture)[black])
        assert run("redo", made, "--image", picture, "--model", model_folder).exit_code == 0


def test_diffedit_needs_no_mask_to_save_one(change: Run, tmp_path: Path) -> None:
    assert change("--save-mask", tmp_path / "m.png", "--strength", "0.7", method="diffedit").exit_code == 0
    assert pixels(tmp_path / "m.png").shape == (30, 40)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--mask", "nothing.png"), "does not exist"),
        (("--mask", "."), "folder"),
        (("--mask", "{text}"), "not an image"),
        (("--mask", "{black}"), "paint white"),
        (("--mask", "{black}", "--invert-mask", "--save-mask", "{black}"), "exists already"),
        (("--mask", "auto", "--save-mask", "m.jpg"), ".png"),
        (("--feather", "0.1"), "no mask"),
        (("--mask", "auto", "--feather", "0.9"), "mask_feather"),
        (("--mask", "auto", "--set", "mask_clmp=1"), "mask_clmp"),
    ],
)
def test_what_cannot_be_a_mask_is_one_sentence_before_the_model_is_loaded(
    change: Run, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    files = {"text": tmp_path / "text.png", "black": tmp_path / "black.png"}
    files["text"].write_text("white")
    Image.new("L", (40, 30)).save(files["black"])
    done = change(*(each.format(**files) for each in arguments))
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence in line
    assert "Loading" not in done.stderr


def test_a_mask_to_save_needs_a_mask(change: Run, tmp_path: Path) -> None:
    assert change("--save-mask", tmp_path / "m.png").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "m.jpg"), ".png"),
        (("--set", "mask_noises=0"), "mask_noises"),
        (("--set", "noises=1"), "noises"),
        (("--reference", " "), "empty"),
        (("--crop", "30,0,20,20"), "crop"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(mask: Run, arguments: tuple[str, ...], sentence: str) -> None:
    done = mask(*arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence in line


def test_an_existing_mask_is_replaced_only_when_asked(mask: Run, tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"mine")
    assert mask("-o", tmp_path / "m.png").exit_code == 1
    assert (tmp_path / "m.png").read_bytes() == b"mine"
    assert mask("-o", tmp_path / "m.png", "--overwrite").exit_code == 0
    assert pixels(tmp_path / "m.png").shape == (30, 40)
