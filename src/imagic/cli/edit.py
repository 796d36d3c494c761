"""`imagic edit` and `imagic fit`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagic.cli import keeping
from imagic.cli import options as given
from imagic.cli.loading import Loading, loads_a_model
from imagic.cli.marking import Marks, marks_pictures
from imagic.cli.naming import beside, free
from imagic.cli.show import busy, emit_json, progress_bars, warn
from imagic.cli.values import parse_crop, parse_settings, parse_strength

if TYPE_CHECKING:
    from imagic.api import Cache, Edited, Fit
    from imagic.core.images import Picture
    from imagic.core.types import Candidate


@loads_a_model
@marks_pictures
def edit(
    image: given.ImageFile,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What the result shows; with --state optional.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="PNG, JPEG or WebP, or a folder; else beside IMAGE.")
    ] = None,
    method: given.Method = None,
    model: given.Model = None,
    strength: given.Strength = "auto",
    seed: given.Seed = 0,
    num_seeds: given.NumSeeds = 1,
    preset: given.Preset = None,
    source: given.SourceText = None,
    crop: given.Crop = None,
    plain: given.Plain = False,
    mask: Annotated[
        str | None,
        typer.Option(metavar="auto|FILE", help="Where the picture may change: an image (white may), or found by TEXT."),
    ] = None,
    feather: given.Feather = None,
    invert_mask: given.InvertMask = False,
    guidance_scale: Annotated[float | None, typer.Option(help="Classifier-free guidance; 1 is none.")] = None,
    num_steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    sampler: Annotated[str | None, typer.Option(help="See `imagic methods`.")] = None,
    attention_control: Annotated[
        bool, typer.Option("--attention-control", help="imagic: hold early attention to the rendering at eta 0.")
    ] = False,
    settings: given.Settings = None,
    save_state: Annotated[Path | None, typer.Option(help="Keep what was learned in this file.")] = None,
    state: Annotated[Path | None, typer.Option(help="Edit from such a file, without fitting.")] = None,
    save_mask: Annotated[Path | None, typer.Option(help="Write the mask that was used (PNG).")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet, strength by seed (PNG).")] = None,
    animate: Annotated[
        Path | None, typer.Option(help="Write an animation through the strengths (GIF or WebP).")
    ] = None,
    overwrite: given.Overwrite = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    no_cache: keeping.NoCache = False,
    checkpoint: keeping.Checkpoint = None,
    checkpoint_seconds: keeping.CheckpointSeconds = keeping.SECONDS,
    *,
    loading: Loading,
    marks: Marks,
) -> None:
    """Edit a picture as a text says, and print where the result is.

    imagic edit dog.png "a sitting dog"
    """
    asked_strength, box = parse_strength(strength), parse_crop(crop)
    flags = {"guidance_scale": guidance_scale, "num_steps": num_steps, "sampler": sampler}
    flags |= {"attention_control": attention_control or None}
    flags |= {"mask_feather": feather, "mask_invert": invert_mask or None}
    values = parse_settings(settings or ()) | {name: value for name, value in flags.items() if value is not None}
    if text is None and state is None:
        raise typer.BadParameter("TEXT is missing: describe the result, or give --state.")
    if state is not None and save_state is not None:
        raise typer.BadParameter("--save-state saves a new fit: give it without --state.")
    if animate is not None and isinstance(asked_strength, float):
        raise typer.BadParameter("--animate needs several strengths: --strength auto or a range.")

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise typer.BadParameter("--sheet writes a .png file.")

    from imagic import api
    from imagic.core import registry
    from imagic.core.files import check_writable
    from imagic.core.images import read_image
    from imagic.core.masks import check_mask_output
    from imagic.core.options import strength_name
    from imagic.core.provenance import check_output
    from imagic.core.sheet import check_sweep_output
    from imagic.core.state import state_method

    if text is not None:
        api.check_text(text)
    picture = read_image(image)
    editor = registry.method(method or api.DEFAULT_METHOD if state is None else state_method(state))
    named = out is not None and not out.is_dir()
    target = out if out is not None and named else beside(image, text or "edited", out)
    # An automatic strength does not enter the name.
    strengths = asked_strength if isinstance(asked_strength, tuple) else (0.0,)
    shots = [(each, seed + index) for index in range(num_seeds) for each in strengths]
    paths = api.output_paths(target, shots, strength_name(editor.EditOptions))
    paths = paths if named else free(paths)
    for path in paths:
        check_output(path, picture, overwrite)
    signer = marks.signer(image)
    for extra in (save_state, sheet):
        if extra is not None:
            check_writable(extra, overwrite)
    if animate is not None:
        check_sweep_output(animate, overwrite)
    masked = api.masking(mask, editor, values, picture, box)
    if save_mask is not None:
        if masked is None and not api.works_within_masks(editor):
            raise typer.BadParameter("--save-mask needs a mask: give --mask too.")
        for path in api.output_paths(save_mask, [(0.0, seed + index) for index in range(num_seeds)]):
            check_mask_output(path, overwrite)

    started = time.monotonic()
    shown: list[str] = []
    of_fit = {"method": method, "preset": preset, "source_text": source, "crop": box}
    if state is not None:
        if asked := [name for name, value in of_fit.items() if value is not None]:
            raise typer.BadParameter(f"The state has its {', '.join(asked)} already: leave that out.")
        with busy("Loading the model"):
            fitted = api.Fit.load(state, picture, model, device, dtype, loading)
        edit_values = values
    else:
        fit_values, edit_values = api.split_options(editor, values)
        api.edit_options(editor, edit_values, asked_strength)  # a wrong one is told before the fit
        cache = keeping.cache_of(no_cache, checkpoint, checkpoint_seconds)
        fitted = fit_picture(picture, text or "", model, device, dtype, loading, seed, fit_values, of_fit, cache, shown)
    if save_state is not None:
        fitted.save(save_state, overwrite)
    fit_seconds = time.monotonic() - started
    with keeping.after_the_fit(), progress_bars() as update:
        edited = api.edit(
            fitted,
            text,
            strength=asked_strength,
            seed=seed,
            num_seeds=num_seeds,
            plain=plain,
            mask=None if masked is None else masked.given or "auto",
            options=edit_values,
            on_progress=update,
        )
    show_warnings(edited.warnings, shown)
    paths = paths if named else free(paths)
    edited.save_each(paths, overwrite, marks.metadata, signer)
    mask_paths = edited.save_masks(save_mask, overwrite) if save_mask is not None else []
    if sheet is not None:
        edited.sheet(sheet, overwrite, marks.metadata)
    if animate is not None:
        edited.animate(animate, overwrite, marks.metadata)
    if as_json:
        seconds = {"fit": fit_seconds, "edit": time.monotonic() - started - fit_seconds}
        extras = {"state": save_state, "sheet": sheet, "animation": animate}
        result = describe(edited, paths, seconds) | {"masks": [str(path) for path in mask_paths]}
        emit_json(result | {name: path and str(path) for name, path in extras.items()})
    else:
        for path in paths:
            typer.echo(path)


@loads_a_model
def fit(
    image: given.ImageFile,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the result will show.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="STATE", help="The file to write; else beside IMAGE.")
    ] = None,
    method: given.Method = None,
    model: given.Model = None,
    seed: given.Seed = 0,
    preset: given.Preset = None,
    source: given.SourceText = None,
    crop: given.Crop = None,
    settings: given.Settings = None,
    overwrite: given.Overwrite = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    no_cache: keeping.NoCache = False,
    checkpoint: keeping.Checkpoint = None,
    checkpoint_seconds: keeping.CheckpointSeconds = keeping.SECONDS,
    *,
    loading: Loading,
) -> None:
    """Learn a picture once, so that `imagic edit --state` can edit it often; print where the state is."""
    box, values = parse_crop(crop), parse_settings(settings or ())

    from imagic import api
    from imagic.core.files import check_writable
    from imagic.core.images import read_image

    api.check_text(text)
    picture = read_image(image)
    named = out is not None and not out.is_dir()
    path = out if out is not None and named else free([beside(image, text, out, ".safetensors")])[0]
    check_writable(path, overwrite)
    started = time.monotonic()
    of_fit = {"method": method, "preset": preset, "source_text": source, "crop": box}
    shown: list[str] = []
    cache = keeping.cache_of(no_cache, checkpoint, checkpoint_seconds)
    fitted = fit_picture(picture, text, model, device, dtype, loading, seed, values, of_fit, cache, shown)
    show_warnings(fitted.warnings, shown)
    fitted.save(path, overwrite)
    if as_json:
        seconds = {"fit": time.monotonic() - started}
        emit_json({"version": 1, "state": str(path), "warnings": list(fitted.warnings), "seconds": seconds})
    else:
        typer.echo(path)


def fit_picture(
    picture: Picture,
    text: str,
    model: str | None,
    device: str | None,
    dtype: str | None,
    loading: Loading,
    seed: int,
    values: Mapping[str, Any],
    of_fit: Mapping[str, Any],
    cache: Cache,
    shown: list[str],
) -> Fit:
    """Load the model and fit, with warnings about the texts before the work.

    of_fit: method, preset, source_text, crop, None where not given. shown: warnings shown so far; new ones are added.
    """
    from imagic import api

    with busy("Loading the model"):
        backbone = api.load_model(model or api.DEFAULT_MODEL, device, dtype, **loading)
    for each in (text, of_fit["source_text"]):
        show_warnings(api.text_warnings(backbone, each, of_fit["method"] or "") if each else (), shown)
    asked = {name: value for name, value in of_fit.items() if value is not None}
    with progress_bars() as update:
        return api.fit(
            picture, text, model=backbone, seed=seed, options=values, cache=cache, on_progress=update, **asked
        )


def show_warnings(warnings: Sequence[str], shown: list[str]) -> None:
    """Those not in `shown` yet, which they are added to."""
    for sentence in warnings:
        if sentence not in shown:
            shown.append(sentence)
            warn(sentence)


def describe(edited: Edited, paths: Sequence[Path], seconds: Mapping[str, float]) -> dict[str, Any]:
    """The result of an edit as plain JSON values."""
    return {
        "version": 1,
        "images": [
            {"path": str(path), **_candidate(candidate)} for path, candidate in zip(paths, edited.chosen, strict=True)
        ],
        "sweep": [_candidate(candidate) for candidate in edited.sweep],
        "warnings": list(edited.warnings),
        "seconds": dict(seconds),
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    """eta: the strength under Imagic's name."""
    from imagic.core.describing import describe_candidate

    return describe_candidate(candidate) | {"eta": candidate.strength}
