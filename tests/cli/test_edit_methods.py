"""`imagic edit --method`: methods other than Imagic, their strength, and the names of their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagic.core.provenance import read_record
from tests.cli.conftest import Run

TEXTS = ("a sitting dog", "--source", "a standing dog")


def test_strength_gives_a_picture_each_and_names_them(
    run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    out, common = tmp_path / "out.png", ("--model", model_folder, "--num-steps", "4")
    done = run("edit", picture, *TEXTS, "--method", "sdedit", *common, "--strength", "0:1:0.5", "-o", out, "--json")
    result = json.loads(done.stdout)
    names = [f"out-strength{strength}.png" for strength in ("0", "0.5", "1")]
    assert [Path(image["path"]).name for image in result["images"]] == names
    assert [image["strength"] for image in result["images"]] == [0, 0.5, 1]
    record = read_record(tmp_path / names[1])
    assert (record.method, record.strength, record.edit_options["num_steps"]) == ("sdedit", 0.5, 4)
    assert run("redo", tmp_path / names[1], "--image", picture, "--model", model_folder).exit_code == 0


def test_a_state_names_its_files_as_its_method_does(
    run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    state, out, common = tmp_path / "dog.safetensors", tmp_path / "out.png", ("--model", model_folder)
    fitted = run("fit", picture, *TEXTS, "--method", "encode_decode", *common, "--set", "num_steps=4", "-o", state)
    assert fitted.exit_code == 0
    done = run("edit", picture, "--state", state, *common, "--eta", "0.5:1:0.5", "-o", out)
    assert done.stdout.split() == [str(tmp_path / f"out-strength{strength}.png") for strength in ("0.5", "1")]


@pytest.mark.parametrize("method", ["sdedit", "encode_decode", "ddib", "cycle_diffusion"])
def test_every_method_edits(run: Run, model_folder: Path, picture: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "out.png"
    done = run("edit", picture, *TEXTS, "--method", method, "--model", model_folder, "--num-steps", "4", "-o", out)
    assert done.exit_code == 0
    assert done.stdout == f"{out}\n"
    assert "(4 steps)" in done.stderr or "(3 steps)" in done.stderr  # of the schedule, or of its part
    assert read_record(out).method == method


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--method", "ddib"), "needs a source text"),
        (("--method", "ddib", "--strength", "0.5"), "has no strength"),
        (("--strength", "0.5", "--set", "num_steps=0"), "num_steps"),
        (("--method", "sdedit", "--strength", "1.5"), "between 0.0 and 1.0"),
        (("--method", "sdedit", "--set", "network_steps=3"), "no option 'network_steps'"),
    ],
)
def test_what_a_method_cannot_do_is_one_sentence(
    run: Run, model_folder: Path, picture: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = run("edit", picture, "a sitting dog", "--model", model_folder, *arguments)
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence in line
    assert " steps)" not in done.stderr  # before any work


def test_a_state_that_is_none_is_refused_before_the_model_is_loaded(
    run: Run, picture: Path, model_folder: Path, tmp_path: Path
) -> None:
    for state in (tmp_path / "missing.safetensors", picture):
        done = run("edit", picture, "--state", state, "--model", model_folder)
        assert done.exit_code == 1
        assert "Loading" not in done.stderr
