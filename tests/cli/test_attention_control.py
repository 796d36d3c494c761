"""`imagic edit --attention-control`: it reaches Imagic, enters the record, and other methods refuse it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from imagic.core.provenance import read_record
from tests.cli.conftest import Run


def test_the_flag_reaches_imagic_and_its_record(
    edit: Run, run: Run, model_folder: Path, picture: Path, tmp_path: Path
) -> None:
    fit = ("--set", "embedding_lr=0.3", "--eta", "1", "--plain")
    held, free, again = (tmp_path / name for name in ("held.png", "free.png", "again.png"))
    assert edit(*fit, "--attention-control", "-o", held).exit_code == 0
    assert edit(*fit, "-o", free).exit_code == 0
    assert read_record(held).edit_options["attention_control"] is True
    assert read_record(free).edit_options["attention_control"] is False
    assert not np.array_equal(Image.open(held), Image.open(free))
    assert run("redo", held, "--image", picture, "--model", model_folder, "-o", again).exit_code == 0
    assert np.array_equal(Image.open(again), Image.open(held))


def test_other_methods_refuse_it(run: Run, model_folder: Path, picture: Path) -> None:
    done = run("edit", picture, "a cat", "--model", model_folder, "--method", "sdedit", "--attention-control")
    assert done.exit_code == 1
    assert "no option 'attention_control'" in done.stderr
