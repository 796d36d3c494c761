"""Edits with a tiny model and a cache, for the tests of what is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import imagic
from imagic import api
from imagic._cache import Cache
from imagic._store import FIT, default_folder
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.types import Progress
from tests.conftest import build_pipeline
from tests.test_api import EDIT, TEXT
from tests.test_api import FIT as TINY_FIT

PIXELS = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def tiny_model() -> StableDiffusionBackbone:
    return StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny")


class Edits:
    """Edits with a cache. seen: the stages of the last one."""

    def __init__(self, backbone: StableDiffusionBackbone) -> None:
        self.backbone = backbone
        self.seen: list[str] = []

    def __call__(
        self, eta: float = 1.0, *, text: str = TEXT, image: Any = PIXELS, cache: Cache | None = None, **values: Any
    ) -> api.Edited:
        self.seen.clear()
        options = TINY_FIT | EDIT | values.pop("options", {})
        values = {"on_progress": lambda progress: self.seen.append(progress.stage)} | values
        return imagic.edit(
            image, text, model=self.backbone, eta=eta, plain=True, options=options, cache=cache or Cache(), **values
        )


def hashes(edited: api.Edited) -> list[str]:
    """Of the pixels of each picture."""
    return [edited.picture(index).pixels_sha256 for index in range(len(edited.chosen))]


def kept(ending: str = FIT) -> list[Path]:
    """The files with that ending in the cache."""
    return sorted(default_folder().glob(f"*{ending}"))


def ends_at(stage: str, step: int, error: BaseException) -> Callable[[Progress], None]:
    """A callback that raises at a step of a stage."""

    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.step) == (stage, step):
            raise error

    return on_progress
