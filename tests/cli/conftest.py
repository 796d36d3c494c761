"""A tiny model with random weights in a folder, a picture, and the command line as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from imagic.cli.app import app
from tests.conftest import build_pipeline

Run = Callable[..., Result]

# As little work as the method allows: what the result looks like is not the question here.
TINY = (
    *("embedding_steps=2", "embedding_pairs=1", "network_steps=2", "network_pairs=1", "measured_pairs=2"),
    *("candidates=3", "refine=0", "search_steps=2", "agreement_pairs=2", "num_steps=2"),
)
TINY_FIT = tuple(part for setting in TINY[:5] for part in ("--set", setting))
TINY_EDIT = tuple(part for setting in TINY[5:] for part in ("--set", setting))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved StableDiffusionPipeline that knows ten words and makes 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_pipeline(word_level=True).save_pretrained(folder)
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """dog.png, 40 x 30 pixels of noise, the same each time."""
    path = tmp_path / "dog.png"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def run() -> Run:
    """Run `imagic` with arguments in this process. A bug's exception goes on, so that it fails the test."""

    def call(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return call


@pytest.fixture
def edit(run: Run, model_folder: Path, picture: Path) -> Run:
    """Run `imagic edit` on the picture with the tiny model, as little work as possible, and further arguments."""

    def call(*arguments: str | Path, text: str = "a sitting dog") -> Result:
        return run("edit", picture, text, "--model", model_folder, *TINY_FIT, *TINY_EDIT, *arguments)

    return call
