"""`imagic redo` makes the same pixels or says that it did not; `imagic inspect` shows what a file holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagic.core.images import read_image
from imagic.core.provenance import read_record, write_image
from tests.cli.conftest import TINY_FIT, Run


@pytest.mark.parametrize("eta", ["auto", "0:1:0.5", "0.6"])
def test_redo_makes_the_same_pixels(
    edit: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path, eta: str
) -> None:
    done = edit("-o", tmp_path / "out.png", "--eta", eta, "--plain", "--seed", "5", "--num-seeds", "2")
    made = Path(done.stdout.split()[-1])
    assert not np.array_equal(np.asarray(Image.open(made)), np.asarray(Image.open(picture)))
    redone = run("redo", made, "--image", picture, "--model", model_folder)
    assert redone.exit_code == 0
    path = tmp_path / f"{made.stem}-redone.png"
    assert redone.stdout == f"{path}\n"
    assert "The pixels are those of" in redone.stderr
    assert read_image(path).pixels_sha256 == read_image(made).pixels_sha256
    assert read_record(path) == read_record(made)


def test_redo_takes_the_same_pixels_from_another_file(
    edit: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    made = edit("-o", tmp_path / "out.png", "--crop", "0,0,24,24", "--plain").stdout.strip()
    with Image.open(picture) as image:
        image.save(tmp_path / "same.bmp")
    assert run("redo", made, "--image", tmp_path / "same.bmp", "--model", model_folder).exit_code == 0


def test_redo_refuses_another_input_before_any_work(edit: Run, run: Run, picture: Path, tmp_path: Path) -> None:
    made = edit("-o", tmp_path / "out.png").stdout.strip()
    pixels = np.array(Image.open(picture))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / "other.png")
    refused = run("redo", made, "--image", tmp_path / "other.png", "-o", tmp_path / "new.png")
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "not the image" in refused.stderr
    assert "Loading" not in refused.stderr
    assert not (tmp_path / "new.png").exists()


def test_redo_says_clearly_that_pixels_differ(
    edit: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    made = Path(edit("-o", tmp_path / "out.png", "--plain", "--eta", "1").stdout.strip())
    record, genuine = read_record(made), read_image(made)
    changed = np.array(genuine.rgb)
    changed[0, 0, 0] ^= 3
    write_image(tmp_path / "changed.png", genuine.with_rgb(changed), record)
    redone = run("redo", tmp_path / "changed.png", "--image", picture, "--model", model_folder, "--json")
    assert redone.exit_code == 1
    assert json.loads(redone.stdout)["same_pixels"] is False
    assert "The new pixels differ from those of changed.png (0.08% of them" in redone.stderr


def test_redo_refuses_another_model_and_a_picture_without_a_record(
    edit: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    made = Path(edit("-o", tmp_path / "out.png").stdout.strip())
    other = read_record(made).model_copy(update={"model_fingerprint": "0" * 64})
    write_image(tmp_path / "other.png", read_image(made), other)
    refused = run("redo", tmp_path / "other.png", "--image", picture, "--model", model_folder)
    assert refused.exit_code == 1
    assert "not the model 'tiny'" in refused.stderr
    refused = run("redo", picture, "--image", picture)
    assert refused.exit_code == 1
    assert "no imagic record" in refused.stderr


def test_a_jpeg_is_redone_without_a_comparison(
    edit: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    made = edit("-o", tmp_path / "out.jpg").stdout.strip()
    redone = run("redo", made, "--image", picture, "--model", model_folder, "--json")
    assert redone.exit_code == 0
    assert json.loads(redone.stdout)["same_pixels"] is None
    assert "JPEG" in redone.stderr


def test_inspect_shows_the_record_of_a_picture(edit: Run, run: Run, picture: Path, tmp_path: Path) -> None:
    made = edit("-o", tmp_path / "out.png").stdout.strip()
    facts = json.loads(run("inspect", made, "--json").stdout)
    assert (facts["version"], facts["kind"], facts["width"], facts["height"]) == (1, "picture", 40, 30)
    assert facts["record"]["target_text"] == "a sitting dog"
    assert facts["record"]["input_sha256"] == read_image(picture).sha256
    assert 'target_text: "a sitting dog"' in run("inspect", made).stdout


def test_inspect_says_that_a_picture_has_no_record(run: Run, picture: Path) -> None:
    facts = json.loads(run("inspect", picture, "--json").stdout)
    assert facts["record"] is None
    assert "no imagic record" in facts["no_record_because"]


def test_inspect_shows_a_state_and_refuses_a_damaged_one(
    run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    state = tmp_path / "dog.safetensors"
    run("fit", picture, "a sitting dog", "--model", model_folder, *TINY_FIT, "-o", state)
    facts = json.loads(run("inspect", state, "--json").stdout)
    assert (facts["version"], facts["kind"], facts["method"]) == (1, "state", "imagic")
    assert facts["facts"]["target_text"] == "a sitting dog"
    assert str(tmp_path) not in json.dumps(facts)
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    refused = run("inspect", state)
    assert refused.exit_code == 1
    assert "damaged" in refused.stderr


def test_control_codes_in_a_text_do_not_reach_the_terminal(edit: Run, run: Run, tmp_path: Path) -> None:
    made = edit("-o", tmp_path / "out.png", text="a dog \x1b]0;owned\x07").stdout.strip()
    assert "\x1b" not in run("inspect", made).stdout
