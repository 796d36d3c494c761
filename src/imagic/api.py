"""All that most users call: load a model, fit an image, edit it.

`fit` is expensive and runs once per image and text; `edit` is cheap and runs many times on what `fit` learned, or on an
image does both. Whatever decides the pixels goes into a record, from which `redo` makes them again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from imagic import _records
from imagic._asked import Strength, edit_options, fit_request, split_options, target_values
from imagic._cache import Cache
from imagic._export import export
from imagic._fitting import fit_state
from imagic._masking import Masking, MaskSource, masking, search_mask, works_within_masks
from imagic._models import DEFAULT_MODEL, Model, load_model, loaded, text_warnings
from imagic._progress import OnProgress, finish, with_previews
from imagic._results import Edited, Fit, output_paths
from imagic.core import registry
from imagic.core.errors import ModelError, OptionError, TextError
from imagic.core.frame import Box, Frame
from imagic.core.images import Picture, Source, as_picture
from imagic.core.masks import Mask, as_mask
from imagic.core.memory import with_less_memory
from imagic.core.options import build_options, is_text, preset_values
from imagic.core.provenance import Record
from imagic.core.seeds import SEED_LIMIT
from imagic.core.text_mask import EMPTY, MaskOptions
from imagic.core.types import Backbone, EditResult, FitRequest, Method

__all__ = [
    "DEFAULT_METHOD",
    "DEFAULT_MODEL",
    "Cache",
    "Edited",
    "Fit",
    "check_text",
    "edit",
    "edit_options",
    "export",
    "find_mask",
    "finish",
    "fit",
    "load_model",
    "masking",
    "output_paths",
    "redo",
    "split_options",
    "text_warnings",
    "with_previews",
    "works_within_masks",
]

DEFAULT_METHOD = "imagic"
LONGEST_TEXT = 2_000  # characters; a model reads a few hundred, and a record must hold them all


def fit(
    image: Source,
    text: str,
    *,
    model: Model = DEFAULT_MODEL,
    method: str = DEFAULT_METHOD,
    preset: str = "",
    source_text: str = "",
    seed: int = 0,
    crop: tuple[int, int, int, int] | None = None,
    options: Mapping[str, Any] | None = None,
    cache: Cache | None = None,
    on_progress: OnProgress | None = None,
) -> Fit:
    """Learn an image, so that it can be edited towards a text.

    image: a path, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4).
    text: what the result shows, or for a method that follows instructions what to do. source_text: what the input
    shows; the fit then serves other texts too.
    preset: one of the method's, "" for its defaults. options: its fit options by name, over the preset's.
    crop: the part to edit (left, top, width, height), in pixels.
    cache: how the fit is kept, also while it runs; None keeps nothing.
    on_progress: called at each step; it may raise, such as core.errors.Cancelled, to end the work there.
    Raises an ImagicError: ImageError, TextError, OptionError, ModelError or AbilityError.
    """
    editor = registry.method(method)
    fit_values, edit_values = split_options(editor, options or {})
    if edit_values:
        raise OptionError(f"Options of editing, not of fitting: {', '.join(edit_values)}; give them to edit.")
    chosen: Any = build_options(editor.FitOptions, {**preset_values(editor, preset), **fit_values})
    check_text(text)
    if source_text:
        check_text(source_text)
    _seeds(seed, 1)
    picture = as_picture(image)
    backbone = loaded(model)
    box = None if crop is None else Box(*crop)
    frame = Frame.fit(picture, backbone.image_size, backbone.size_multiple, box)
    request = fit_request(editor, frame.to_model(picture), text, source_text, seed)
    return _fit(editor, chosen, request, picture, frame, backbone, preset, cache, on_progress)


def edit(
    image: Source | Fit,
    text: str | None = None,
    *,
    strength: Strength = "auto",
    eta: Strength = "auto",
    seed: int = 0,
    num_seeds: int = 1,
    plain: bool = False,
    mask: MaskSource | None = None,
    options: Mapping[str, Any] | None = None,
    model: Model | None = None,
    method: str | None = None,
    preset: str | None = None,
    source_text: str | None = None,
    crop: tuple[int, int, int, int] | None = None,
    cache: Cache | None = None,
    on_progress: OnProgress | None = None,
) -> Edited:
    """Edit an image as a text says.

    image: as for `fit`, or a Fit, which saves the expensive part.
    text: what the result shows; for a Fit, None is the text that it was made for.
    strength: how far the edit goes, see the method's option of that name; "auto" is the method's own choice (imagic
    finds one for each seed); several numbers give an image each. eta: the same under Imagic's name.
    seed: of the first image, and of the fit. num_seeds: how many, counting upwards.
    plain: enlarge the model's result, instead of laying the change over the input.
    mask: where the picture may change: an image of any size, white = may change, or "auto", which finds it by the texts
    as DiffEdit does; outside it the input's pixels stay.
    options: the method's options by name, of fitting and editing, and those of masks (core.text_mask.MaskOptions).
    model, method, preset, source_text, crop, cache: as for `fit`; not with a Fit. on_progress: as for `fit`.
    Raises an ImagicError as `fit`, before any work where it can.
    """
    of_fit: dict[str, Any] = {"model": model, "method": method, "preset": preset}
    of_fit |= {"source_text": source_text, "crop": crop, "cache": cache}
    asked = [name for name, value in of_fit.items() if value is not None]
    if isinstance(image, Fit) and asked:
        raise OptionError(f"A fit has its {', '.join(asked)} already: leave that out, or fit again.")
    editor = registry.method(image.state.method if isinstance(image, Fit) else method or DEFAULT_METHOD)
    fit_values, edit_values = split_options(editor, options or {})
    if isinstance(image, Fit) and fit_values:
        raise OptionError(f"Options of fitting, which is done already: {', '.join(fit_values)}; fit again.")
    if isinstance(image, Fit) and text is not None and text != image.record.target_text:
        check_text(text)
        edit_values |= target_values(editor, text)
    chosen = edit_options(editor, edit_values, strength, eta)
    seeds = _seeds(seed, num_seeds)
    if isinstance(image, Fit):
        masked = masking(mask, editor, edit_values, image.picture, image.frame.box)
    else:
        if text is None:
            raise TextError("An edit needs a text: describe the edited picture.")
        picture = as_picture(image)
        masked = masking(mask, editor, edit_values, picture, crop)
        image = fit(
            picture,
            text,
            model=DEFAULT_MODEL if model is None else model,
            method=editor.name,
            preset=preset or "",
            source_text=source_text or "",
            seed=seed,
            crop=crop,
            options=fit_values,
            cache=cache,
            on_progress=on_progress,
        )
    return _edit(image, editor, chosen, text or image.record.target_text, seeds, plain, masked, on_progress)


def find_mask(
    image: Source,
    text: str,
    reference_text: str = "",
    *,
    model: Model = DEFAULT_MODEL,
    seed: int = 0,
    crop: tuple[int, int, int, int] | None = None,
    options: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Mask:
    """Where a text would change an image, as DiffEdit finds it; to look at, paint over and give to `edit`.

    reference_text: what the input shows, for the text to be compared with; else it is compared with the empty text.
    options: by name, of core.text_mask.MaskOptions. The rest is as for `fit`.
    Raises an ImagicError: ImageError, TextError, OptionError, ModelError or AbilityError.
    """
    chosen = build_options(MaskOptions, options or {})
    for each in (text, reference_text) if reference_text else (text,):
        check_text(each)
    _seeds(seed, 1)
    picture, backbone = as_picture(image), loaded(model)
    box = None if crop is None else Box(*crop)
    frame = Frame.fit(picture, backbone.image_size, backbone.size_multiple, box)
    work = search_mask(backbone, frame.to_model(picture), text, reference_text, seed, chosen)
    found = finish(work, on_progress)[0, 0]
    texts = [sentence for each in (text, reference_text) for sentence in text_warnings(backbone, each)]
    empty = () if bool(found.any()) else (EMPTY,)
    return Mask(frame.mask_to_picture(found), notes=(*picture.notes, *texts, *empty))


def redo(
    record: Record,
    image: Source,
    *,
    mask: Source | Mask | None = None,
    model: Model | None = None,
    cache: Cache | None = None,
    on_progress: OnProgress | None = None,
) -> Edited:
    """Make an image again from its record (core.provenance.read_record) and the original input.

    On one machine with the same versions the pixels are the same; where a version differs, a warning says so.
    mask: the one that was given, if one was. model: None loads the one that the record names. cache: as for `fit`.
    Raises ImageError for another input or mask, ModelError for another model.
    """
    picture = as_picture(image)
    record.check_input(picture)
    given = None if mask is None else as_mask(mask, picture)
    record.check_mask(given)
    editor = registry.method(record.method)
    asked = "auto" if record.mask == "auto" else given
    masked = masking(asked, editor, record.mask_options, picture, record.frame().box)
    fit_options: Any = build_options(editor.FitOptions, record.fit_options)
    edit_options: Any = build_options(editor.EditOptions, record.edit_options)
    backbone = loaded(record.model if model is None else model)
    if backbone.fingerprint != record.model_fingerprint:
        raise ModelError(f"This is not the model '{record.model}' that made the image; name the folder of that one.")
    frame = record.frame()
    request = fit_request(editor, frame.to_model(picture), record.target_text, record.source_text, record.fit_seed)
    fitted = _fit(editor, fit_options, request, picture, frame, backbone, record.preset, cache, on_progress)
    text, seeds = record.target_text, (record.seed,)
    edited = _edit(fitted, editor, edit_options, text, seeds, record.plain, masked, on_progress)
    # Strengths that were asked for together are rendered together again, since rounding may depend on the batch.
    index = min(range(len(edited.strengths)), key=lambda i: abs(edited.strengths[i] - record.strength))
    made = edited.records[index]
    return dataclasses.replace(
        edited,
        results=(dataclasses.replace(edited.results[0], chosen=(edited.chosen[index],)),),
        records=(made,),
        warnings=(*_records.differences(record, made), *edited.warnings),
    )


def _fit(
    editor: Method,
    options: Any,
    request: FitRequest,
    picture: Picture,
    frame: Frame,
    backbone: Backbone,
    preset: str,
    cache: Cache | None,
    on_progress: OnProgress | None,
) -> Fit:
    registry.check_abilities(editor, backbone)

    def attempt(chosen: Any) -> Fit:
        record = _records.of_fit(editor.name, request, picture, frame, backbone, preset, chosen)
        state = fit_state(editor, backbone, request, chosen, cache, on_progress)
        return Fit(picture, frame, _records.attach(state, record), backbone, record)

    made, notes = with_less_memory(attempt, options, "max_pairs")
    return dataclasses.replace(made, notes=notes)


def _edit(
    fitted: Fit,
    editor: Method,
    options: Any,
    text: str,
    seeds: Sequence[int],
    plain: bool,
    masked: Masking | None,
    on_progress: OnProgress | None,
) -> Edited:
    backbone, source_text = fitted.backbone, fitted.record.source_text
    state = fitted.state if masked is None else masked.into(fitted.state, fitted.frame)

    # One call per seed: an image is then laid over the reconstruction of its own seed, and no other seed of the batch
    # has a part in its rounding, so that it can be made again alone.
    def attempt(chosen: Any) -> tuple[list[EditResult], list[Record]]:
        results: list[EditResult] = []
        for seed in seeds:
            label = f"seed {seed}: " if len(seeds) > 1 else ""
            result = finish(editor.edit(backbone, state, chosen, [seed]), on_progress, label)
            if masked is not None:
                image = fitted.frame.to_model(fitted.picture)
                search = masked.onto(result, backbone, image, text, source_text, seed)
                result = finish(search, on_progress, label)
            results.append(result)
        facts = {} if masked is None else masked.facts()
        return results, [
            _records.of_image(fitted.record, candidate, chosen, text, plain, facts)
            for result in results
            for candidate in result.chosen
        ]

    (results, records), less = with_less_memory(attempt, options, "max_batch")
    new_text = () if text == fitted.record.target_text else text_warnings(backbone, text, editor.name)
    own = [sentence for result in results for sentence in result.warnings]
    notes = () if masked is None or masked.given is None else masked.given.notes
    sentences = [*fitted.warnings, *less, *notes, *new_text, *own, *_same_for_all_seeds(results)]
    return Edited(fitted, tuple(results), tuple(records), tuple(dict.fromkeys(sentences)), masked)


def _same_for_all_seeds(results: Sequence[EditResult]) -> tuple[str, ...]:
    first, *others = ([candidate.image for candidate in result.chosen] for result in results)
    if not others or not all(torch.equal(a, b) for images in others for a, b in zip(first, images, strict=True)):
        return ()
    return ("All seeds gave the same picture, since no noise was drawn: ask for one, or set an option that draws it.",)


def _seeds(seed: int, count: int) -> tuple[int, ...]:
    if count < 1:
        raise OptionError(f"The number of seeds must be 1 at least, not {count}.")
    if not 0 <= seed <= SEED_LIMIT - count:
        raise OptionError(f"Seeds must lie between 0 and {SEED_LIMIT - 1}, not {seed} to {seed + count - 1}.")
    return tuple(range(seed, seed + count))


def check_text(text: str) -> None:
    """Raises TextError for a text that is empty or too long to be recorded."""
    if not text.strip():
        raise TextError("The text is empty: describe the edited picture, such as 'a sitting dog'.")
    if not is_text(text):
        raise TextError("The text holds halves of characters, which no model reads: write it anew.")
    if len(text) > LONGEST_TEXT:
        raise TextError(f"The text has {len(text)} characters, more than {LONGEST_TEXT}; shorten it.")
