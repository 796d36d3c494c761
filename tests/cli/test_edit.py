"""`imagic edit` and `imagic fit`: files, names, streams and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagic.core.provenance import read_record
from tests.cli.conftest import TINY_EDIT, TINY_FIT, Run


def test_an_edit_writes_one_picture_of_the_inputs_size_and_prints_its_path_alone(
    edit: Run, picture: Path, tmp_path: Path
) -> None:
    done = edit()
    path = tmp_path / "dog-a-sitting-dog.png"
    assert done.exit_code == 0
    assert done.stdout == f"{path}\n"
    assert "embedding (2 steps)" in done.stderr
    with Image.open(path) as made, Image.open(picture) as given:
        assert made.size == given.size
    record = read_record(path)
    assert (record.target_text, record.model, record.seed) == ("a sitting dog", "tiny", 0)
    assert str(tmp_path) not in record.to_json()


def test_default_names_are_never_taken_from_another_file(edit: Run, tmp_path: Path) -> None:
    (tmp_path / "dog-a-sitting-dog.png").write_bytes(b"mine")
    assert edit("--overwrite").stdout == f"{tmp_path / 'dog-a-sitting-dog-2.png'}\n"
    assert (tmp_path / "dog-a-sitting-dog.png").read_bytes() == b"mine"


def test_a_folder_as_output_gets_the_default_name(edit: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert edit("-o", tmp_path / "out").stdout == f"{tmp_path / 'out' / 'dog-a-sitting-dog.png'}\n"


def test_an_existing_output_is_refused_before_any_work_and_replaced_when_asked(edit: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"mine")
    refused = edit("-o", out)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "exists already" in refused.stderr
    assert "Loading" not in refused.stderr
    assert out.read_bytes() == b"mine"
    assert edit("-o", out, "--overwrite").exit_code == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("option", ["--save-state", "--sheet", "--animate"])
def test_other_outputs_are_not_overwritten_either(edit: Run, tmp_path: Path, option: str) -> None:
    taken = tmp_path / {"--save-state": "s.safetensors", "--sheet": "s.png", "--animate": "s.gif"}[option]
    taken.write_bytes(b"mine")
    refused = edit(option, taken)
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr
    assert "Loading" not in refused.stderr
    assert taken.read_bytes() == b"mine"


def test_etas_by_seeds_give_a_picture_each_a_sheet_and_an_animation(edit: Run, tmp_path: Path) -> None:
    out, sheet, animation = tmp_path / "out.webp", tmp_path / "sheet.png", tmp_path / "sweep.gif"
    extras = ("--plain", "--sheet", sheet, "--animate", animation)
    done = edit("-o", out, "--eta", "0:1:0.5", "--seed", "3", "--num-seeds", "2", *extras)
    names = [f"out-eta{eta}-seed{seed}.webp" for seed in (3, 4) for eta in ("0", "0.5", "1")]
    assert done.stdout.split() == [str(tmp_path / name) for name in names]
    records = [read_record(tmp_path / name) for name in names]
    assert [(record.seed, record.strength) for record in records] == [(s, e) for s in (3, 4) for e in (0, 0.5, 1)]
    with Image.open(sheet) as page:
        assert page.format == "PNG"
    with Image.open(animation) as moving:
        assert moving.format == "GIF"
        assert getattr(moving, "n_frames", 1) > 1


def test_automatic_eta_names_pictures_by_seed(edit: Run, tmp_path: Path) -> None:
    done = edit("-o", tmp_path / "out.png", "--num-seeds", "2")
    assert done.stdout.split() == [str(tmp_path / f"out-seed{seed}.png") for seed in (0, 1)]


def test_json_holds_paths_etas_the_sweep_and_warnings(edit: Run, tmp_path: Path) -> None:
    done = edit("--json", "-o", tmp_path / "out.png", text="a sitting wug dog")
    result = json.loads(done.stdout)
    assert result["version"] == 1
    (image,) = result["images"]
    assert image["path"] == str(tmp_path / "out.png")
    assert image["seed"] == 0
    assert 0 <= image["eta"] <= 1
    assert {each["eta"] for each in result["sweep"]} >= {0.0, 0.5, 1.0}
    assert any("'wug'" in sentence for sentence in result["warnings"])
    assert result["state"] is result["sheet"] is result["animation"] is None
    assert set(result["seconds"]) == {"fit", "edit"}
    assert done.stderr.count("wug") == 1


def test_a_text_past_the_models_limit_is_cut_with_a_warning_that_shows_the_cut(edit: Run, tmp_path: Path) -> None:
    done = edit("-o", tmp_path / "out.png", text="a dog on the grass " * 3)
    assert done.exit_code == 0
    assert "too long" in done.stderr


def test_a_saved_state_gives_the_same_pixels_without_fitting(
    edit: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    state, first, second = tmp_path / "dog.safetensors", tmp_path / "1.png", tmp_path / "2.png"
    assert edit("-o", first, "--save-state", state, "--eta", "0.7", "--plain").exit_code == 0
    again = ("--state", state, "--model", model_folder, "--eta", "0.7", "--plain", *TINY_EDIT)
    done = run("edit", picture, "-o", second, *again)
    assert done.exit_code == 0
    assert "embedding (" not in done.stderr
    with Image.open(first) as a, Image.open(second) as b:
        assert np.array_equal(np.asarray(a), np.asarray(b))


def test_fit_writes_a_state_that_edit_takes(run: Run, model_folder: Path, picture: Path, tmp_path: Path) -> None:
    done = run("fit", picture, "a sitting dog", "--model", model_folder, *TINY_FIT, "--json")
    result = json.loads(done.stdout)
    assert result["version"] == 1
    assert result["state"] == str(tmp_path / "dog-a-sitting-dog.safetensors")
    again = ("--state", result["state"], "--model", model_folder, *TINY_EDIT)
    assert run("edit", picture, *again, "-o", tmp_path / "out.png").exit_code == 0
    assert run("edit", picture, "a cat", *again).exit_code == 1  # needs a source text
    assert run("edit", picture, *again, "--method", "imagic").exit_code == 2


def test_one_fit_of_a_source_text_serves_other_targets(
    run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    state = tmp_path / "dog.safetensors"
    common = ("--model", model_folder)
    fitted = run("fit", picture, "a cat", "--source", "a standing dog", "-o", state, *common, *TINY_FIT)
    assert fitted.exit_code == 0
    out = tmp_path / "out.png"
    assert run("edit", picture, "a sitting dog", "--state", state, *common, *TINY_EDIT, "-o", out).exit_code == 0
    assert read_record(out).target_text == "a sitting dog"
    assert run("redo", out, "--image", picture, *common).exit_code == 0


def test_a_state_is_refused_for_another_picture(run: Run, model_folder: Path, picture: Path, tmp_path: Path) -> None:
    state, other = tmp_path / "dog.safetensors", tmp_path / "other.png"
    run("fit", picture, "a sitting dog", "--model", model_folder, *TINY_FIT, "-o", state)
    Image.new("RGB", (40, 30)).save(other)
    refused = run("edit", other, "--state", state, "--model", model_folder)
    assert refused.exit_code == 1
    assert "Error: This is not the image" in refused.stderr


def test_nothing_outside_the_crop_changes(edit: Run, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    assert edit("-o", out, "--crop", "8,4,20,20", "--plain", "--eta", "1").exit_code == 0
    with Image.open(picture) as given, Image.open(out) as made:
        before, after = np.asarray(given).copy(), np.asarray(made).copy()
    assert not np.array_equal(before[4:24, 8:28], after[4:24, 8:28])
    before[4:24, 8:28] = after[4:24, 8:28] = 0
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--set", "nonsense=1"), "nonsense"),
        (("--set", "network_steps=-1"), "network_steps"),
        (("--method", "imagik"), "did you mean 'imagic'"),
        (("--preset", "slow"), "no preset 'slow'"),
        (("--model", "nowhere"), "no model 'nowhere'"),
        (("--device", "abacus"), "abacus"),
        (("--dtype", "float7"), "float7"),
        (("--eta", "7"), "eta"),
        (("--crop", "30,0,20,20"), "crop"),
        (("-o", "out.bmp"), ".png"),
        (("--seed", "4294967296"), "4294967295"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_1(
    edit: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    done = edit(*arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(edit: Run, text: str) -> None:
    done = edit(text=text)
    assert done.exit_code == 1
    assert "empty" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--eta", "much"),
        ("--crop", "1,2,3"),
        ("--set", "steps"),
        ("--num-seeds", "0"),
        ("--animate", "a.gif", "--eta", "0.5"),
        ("--sheet", "a.jpg"),
        ("--state", "a.safetensors", "--save-state", "b.safetensors"),
        ("--unknown",),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(edit: Run, arguments: tuple[str, ...]) -> None:
    done = edit(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_a_text_is_needed_without_a_state(run: Run, picture: Path) -> None:
    assert run("edit", picture).exit_code == 2
