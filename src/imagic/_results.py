"""What the calls of the api return: a fit, and edited pictures."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from imagic import _records
from imagic._masking import Masking, of_result
from imagic._models import Model, loaded, text_warnings
from imagic.core import registry
from imagic.core.declaration import Declaration
from imagic.core.errors import OptionError
from imagic.core.frame import Frame
from imagic.core.images import Picture, Source, as_picture
from imagic.core.masks import Mask
from imagic.core.options import strength_name
from imagic.core.provenance import Record, write_image
from imagic.core.sheet import contact_sheet, write_sheet, write_sweep
from imagic.core.state import check_state, load_state, save_state
from imagic.core.types import Backbone, Candidate, EditResult, State

if TYPE_CHECKING:
    from imagic.signing import Signer

ANIMATION_SIDE = 512  # pixels


@dataclass(frozen=True, eq=False)
class Fit:
    """What a method learned about one image and text; edit it as often as you like.

    picture: the input at full size. frame: where it lies in the model's square. record: how the fit was made. notes:
    sentences on the fitting.
    """

    picture: Picture
    frame: Frame
    state: State
    backbone: Backbone
    record: Record
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Plain sentences about the image file, the texts and the fitting."""
        texts = [text for text in (self.record.target_text, self.record.source_text) if text]
        of_texts = [sentence for text in texts for sentence in text_warnings(self.backbone, text, self.record.method)]
        return (*self.picture.notes, *of_texts, *self.notes)

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
        loading: Mapping[str, Any] | None = None,
    ) -> Fit:
        """A saved fit, with the image that it was made from.

        model: what it was made with; None takes the one that the state names. device, dtype, loading: for a model
        that is not loaded yet, as for `load_model`, `loading` being its further keywords.
        Raises StateError for a damaged state or another model's, ImageError for an image that is not the fitted one.
        """
        state = load_state(Path(path))
        record = _records.of_state(state)
        picture = as_picture(image)
        record.check_input(picture)
        backbone = loaded(record.model if model is None else model, device, dtype, loading)
        check_state(state, state.method, backbone)
        return Fit(picture, record.frame(), state, backbone, record)


@dataclass(frozen=True, eq=False)
class Edited:
    """The edited pictures, and how they came about.

    results: one per seed. records: one per image, from which `redo` makes it again. warnings: plain sentences.
    masking: the mask that was asked for, outside which the pictures are the input.
    """

    fit: Fit
    results: tuple[EditResult, ...]
    records: tuple[Record, ...]
    warnings: tuple[str, ...]
    masking: Masking | None = None

    @property
    def chosen(self) -> tuple[Candidate, ...]:
        """The results at the model's size, seed by seed, in the order of `images`."""
        return tuple(candidate for result in self.results for candidate in result.chosen)

    @property
    def sweep(self) -> tuple[Candidate, ...]:
        """Everything rendered on the way, at the model's size, with what was measured."""
        return tuple(candidate for result in self.results for candidate in result.sweep)

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strength of each image."""
        return tuple(candidate.strength for candidate in self.chosen)

    @property
    def etas(self) -> tuple[float, ...]:
        """`strengths` under Imagic's name."""
        return self.strengths

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

    def save(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        metadata: bool = True,
        signer: Signer | None = None,
    ) -> list[Path]:
        """Write the images with their records as PNG, JPEG or WebP; several are named as `output_paths` says.

        metadata: False writes the pixels alone. signer: of imagic.signing.open_signer, adds Content Credentials.
        Returns the paths. Raises OutputError, also for a file that exists unless `overwrite` is true, and OptionError
        for a signer without metadata or whose key cannot be used.
        """
        paths = output_paths(path, list(zip(self.strengths, self.seeds, strict=True)), self._strength_name)
        self.save_each(paths, overwrite, metadata, signer)
        return paths

    @property
    def masks(self) -> tuple[Mask, ...]:
        """What could change, one mask per seed in the input's size; none where the edit had none."""
        if self.masking is not None:
            return tuple(self.masking.used(self.fit.frame, result) for result in self.results)
        return tuple(of_result(self.fit.frame, result) for result in self.results if result.mask is not None)

    def save_masks(self, path: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
        """Write the masks as PNG, named as `save` names seeds. Returns the paths.

        Raises OptionError where the edit had none, and OutputError.
        """
        if not self.masks:
            raise OptionError("This edit had no mask: ask for one, or use a method that finds its own.")
        paths = output_paths(path, [(0.0, seed) for seed in dict.fromkeys(self.seeds)])
        for each, mask in zip(paths, self.masks, strict=True):
            mask.save(each, overwrite)
        return paths

    def save_each(
        self, paths: Sequence[Path], overwrite: bool = False, metadata: bool = True, signer: Signer | None = None
    ) -> None:
        """Write each image to the path of its own. The rest is as for `save`."""
        if signer is not None and not metadata:
            raise OptionError("A signature is metadata: sign, or leave the metadata out.")
        for index, (path, record) in enumerate(zip(paths, self.records, strict=True)):
            seal = None if signer is None else functools.partial(signer.sign, record=record, picture=self.fit.picture)
            write_image(path, self.picture(index), record if metadata else None, overwrite, seal)

    def sheet(self, path: str | os.PathLike[str], overwrite: bool = False, metadata: bool = True) -> None:
        """Write a PNG of everything rendered, strength by seed, labelled. metadata: as for `save`.

        Raises OutputError.
        """
        page = contact_sheet(
            [*self.sweep, *self.chosen],
            self.fit.frame.to_model(self.fit.picture)[0],
            self.results[0].reconstruction,
            self._strength_name,
            chosen=self.chosen[0] if len(self.chosen) == 1 else None,
        )
        write_sheet(path, page, overwrite, self._declaration(metadata))

    def animate(self, path: str | os.PathLike[str], overwrite: bool = False, metadata: bool = True) -> None:
        """Write a GIF or WebP that moves through the strengths of the first seed, at most 512 pixels a side.

        metadata: as for `save`. Raises OptionError when fewer than two strengths were rendered, and OutputError.
        """
        result = self.results[0]
        by_strength = {candidate.strength: candidate for candidate in (*result.sweep, *result.chosen)}
        if len(by_strength) < 2:
            raise OptionError("An animation needs two strengths at least: give several, or leave imagic's automatic.")
        frames = []
        for strength in sorted(by_strength):
            picture = self._full_size(by_strength[strength], result, plain=self.records[0].plain).to_pil()
            picture.thumbnail((ANIMATION_SIDE, ANIMATION_SIDE))
            frames.append(picture)
        write_sweep(path, frames, overwrite=overwrite, declaration=self._declaration(metadata))

    def _declaration(self, metadata: bool) -> Declaration | None:
        return self.records[0].declaration() if metadata else None

    @property
    def _strength_name(self) -> str:
        return strength_name(registry.method(self.fit.state.method).EditOptions) or "strength"

    def _full_size(self, candidate: Candidate, result: EditResult, *, plain: bool) -> Picture:
        frame, picture = self.fit.frame, self.fit.picture
        if self.masking is None:
            return frame.lay_over(picture, candidate.image, result.reconstruction, plain)
        return self.masking.lay_over(frame, picture, candidate.image, result, plain)


def output_paths(
    path: str | os.PathLike[str], shots: Sequence[tuple[float, int]], strength_name: str = "eta"
) -> list[Path]:
    """A path per (strength, seed): `path` for a single one, else such as out-eta0.7-seed1.png, with what differs."""
    path = Path(path)
    strengths, seeds = {strength for strength, _ in shots}, {seed for _, seed in shots}
    name_strength = len(strengths) > 1 and len(shots) > len(seeds)  # else the seed tells the images apart

    def named(strength: float, seed: int) -> Path:
        labels = [f"{strength_name}{strength:.6g}"] * name_strength + [f"seed{seed}"] * (len(seeds) > 1)
        return path.with_name("-".join([path.stem, *labels]) + path.suffix)

    return [named(strength, seed) for strength, seed in shots]
