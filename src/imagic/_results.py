"""What the calls of the api return: a fit, and edited pictures."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from imagic import _records
from imagic._models import Model, loaded, text_warnings
from imagic.core.errors import OptionError
from imagic.core.frame import Frame
from imagic.core.images import Picture, Source, as_picture
from imagic.core.provenance import Record, write_image
from imagic.core.sheet import contact_sheet, write_sheet, write_sweep
from imagic.core.state import check_state, load_state, save_state
from imagic.core.types import Backbone, Candidate, EditResult, State

ANIMATION_SIDE = 512  # pixels


@dataclass(frozen=True, eq=False)
class Fit:
    """What a method learned about one image and text; edit it as often as you like.

    picture: the input at full size. frame: where it lies in the model's square. record: how the fit was made.
    """

    picture: Picture
    frame: Frame
    state: State
    backbone: Backbone
    record: Record

    @property
    def warnings(self) -> tuple[str, ...]:
        """Plain sentences about the image file and the texts."""
        texts = (self.record.target_text, self.record.source_text)
        return (*self.picture.notes, *(each for text in texts if text for each in text_warnings(self.backbone, text)))

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the state as one safetensors file; the image is not in it. Raises OutputError."""
        save_state(self.state, Path(path), overwrite)

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        image: Source,
        model: Model | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> Fit:
        """A saved fit, with the image that it was made from.

        model: what it was made with; None takes the one that the state names. device, dtype: for a model that is not
        loaded yet, as for `load_model`.
        Raises StateError for a damaged state or another model's, ImageError for an image that is not the fitted one.
        """
        state = load_state(Path(path))
        record = _records.of_state(state)
        picture = as_picture(image)
        record.check_input(picture)
        backbone = loaded(record.model if model is None else model, device, dtype)
        check_state(state, state.method, backbone)
        return Fit(picture, record.frame(), state, backbone, record)


@dataclass(frozen=True, eq=False)
class Edited:
    """The edited pictures, and how they came about.

    results: one per seed. records: one per image, from which `redo` makes it again. warnings: plain sentences.
    """

    fit: Fit
    results: tuple[EditResult, ...]
    records: tuple[Record, ...]
    warnings: tuple[str, ...]

    @property
    def chosen(self) -> tuple[Candidate, ...]:
        """The results at the model's size, seed by seed, in the order of `images`."""
        return tuple(candidate for result in self.results for candidate in result.chosen)

    @property
    def sweep(self) -> tuple[Candidate, ...]:
        """Everything rendered on the way, at the model's size, with what was measured."""
        return tuple(candidate for result in self.results for candidate in result.sweep)

    @property
    def etas(self) -> tuple[float, ...]:
        """The strength of each image."""
        return tuple(candidate.strength for candidate in self.chosen)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image."""
        return tuple(candidate.seed for candidate in self.chosen)

    @functools.cached_property
    def images(self) -> tuple[Image.Image, ...]:
        """The results at the input's size, RGB, or RGBA where the input has alpha."""
        return tuple(self.picture(index).to_pil() for index in range(len(self.chosen)))

    def picture(self, index: int) -> Picture:
        """One result at the input's size."""
        pairs = [(candidate, result) for result in self.results for candidate in result.chosen]
        return self._full_size(*pairs[index], plain=self.records[index].plain)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
        """Write the images with their records as PNG, JPEG or WebP; several are named as `output_paths` says.

        Returns the paths. Raises OutputError, also for a file that exists unless `overwrite` is true.
        """
        paths = output_paths(path, list(zip(self.etas, self.seeds, strict=True)))
        self.save_each(paths, overwrite)
        return paths

    def save_each(self, paths: Sequence[Path], overwrite: bool = False) -> None:
        """Write each image to the path of its own. Raises as `save`."""
        for index, (path, record) in enumerate(zip(paths, self.records, strict=True)):
            write_image(path, self.picture(index), record, overwrite)

    def sheet(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write a PNG of everything rendered, strength by seed, labelled. Raises OutputError."""
        page = contact_sheet(
            [*self.sweep, *self.chosen],
            self.fit.frame.to_model(self.fit.picture)[0],
            self.results[0].reconstruction,
            chosen=self.chosen[0] if len(self.chosen) == 1 else None,
        )
        write_sheet(path, page, overwrite)

    def animate(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write a GIF or WebP that moves through the strengths of the first seed, at most 512 pixels a side.

        Raises OptionError when fewer than two strengths were rendered, and OutputError.
        """
        result = self.results[0]
        by_strength = {candidate.strength: candidate for candidate in (*result.sweep, *result.chosen)}
        if len(by_strength) < 2:
            raise OptionError("An animation needs two strengths at least: leave eta automatic or give several.")
        frames = []
        for strength in sorted(by_strength):
            picture = self._full_size(by_strength[strength], result, plain=self.records[0].plain).to_pil()
            picture.thumbnail((ANIMATION_SIDE, ANIMATION_SIDE))
            frames.append(picture)
        write_sweep(path, frames, overwrite=overwrite)

    def _full_size(self, candidate: Candidate, result: EditResult, *, plain: bool) -> Picture:
        return self.fit.frame.lay_over(self.fit.picture, candidate.image, result.reconstruction, plain)


def output_paths(path: str | os.PathLike[str], shots: Sequence[tuple[float, int]]) -> list[Path]:
    """A path per (strength, seed): `path` for a single one, else such as out-eta0.7-seed1.png, with what differs."""
    path = Path(path)
    strengths, seeds = {strength for strength, _ in shots}, {seed for _, seed in shots}
    name_strength = len(strengths) > 1 and len(shots) > len(seeds)  # else the seed tells the images apart

    def named(strength: float, seed: int) -> Path:
        labels = [f"eta{strength:.6g}"] * name_strength + [f"seed{seed}"] * (len(seeds) > 1)
        return path.with_name("-".join([path.stem, *labels]) + path.suffix)

    return [named(strength, seed) for strength, seed in shots]
