"""`imagic edit` and `imagic fit`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagic.cli import options as given
from imagic.cli.naming import beside, free
from imagic.cli.show import busy, emit_json, progress_bars, warn
from imagic.cli.values import parse_crop, parse_eta, parse_settings

if TYPE_CHECKING:
    from imagic.api import Edited, Fit
    from imagic.core.images import Picture
    from imagic.core.types import Candidate


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
    eta: Annotated[str, typer.Option(help="Strength: auto, a number (0.7), or a range (0:1:0.1).")] = "auto",
    seed: given.Seed = 0,
    num_seeds: Annotated[int, typer.Option(help="How many seeds, counting up from --seed.", min=1)] = 1,
    preset: given.Preset = None,
    source: given.SourceText = None,
    crop: given.Crop = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Enlarge the model's result instead of laying the change over the input.")
    ] = False,
    guidance_scale: Annotated[float | None, typer.Option(help="Classifier-free guidance; 1 is none.")] = None,
    num_steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    sampler: Annotated[str | None, typer.Option(help="See `imagic methods`.")] = None,
    settings: given.Settings = None,
    save_state: Annotated[Path | None, typer.Option(help="Keep what was learned in this file.")] = None,
    state: Annotated[Path | None, typer.Option(help="Edit from such a file, without fitting.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet, eta by seed (PNG).")] = None,
    animate: Annotated[Path | None, typer.Option(help="Write an animation through the etas (GIF or WebP).")] = None,
    overwrite: given.Overwrite = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
) -> None:
    """Edit a picture as a text says, and print where the result is.

    imagic edit dog.png "a sitting dog"
    """
    strength, box = parse_eta(eta), parse_crop(crop)
    flags = {"guidance_scale": guidance_scale, "num_steps": num_steps, "sampler": sampler}
    values = parse_settings(settings or ()) | {name: value for name, value in flags.items() if value is not None}
    if text is None and state is None:
        raise typer.BadParameter("TEXT is missing: describe the result, or give --state.")
    if state is not None and save_state is not None:
        raise typer.BadParameter("--save-state saves a new fit: give it without --state.")
    if animate is not None and isinstance(strength, float):
        raise typer.BadParameter("--animate needs several etas: --eta auto or a range.")

    if sheet is not None and sheet.suffix.lower() != ".png":
        raise typer.BadParameter("--sheet writes a .png file.")

    from imagic import api
    from imagic.core import registry
    from imagic.core.files import check_writable
    from imagic.core.images import read_image
    from imagic.core.provenance import check_output
    from imagic.core.sheet import check_sweep_output

    if text is not None:
        api.check_text(text)
    picture = read_image(image)
    named = out is not None and not out.is_dir()
    target = out if out is not None and named else beside(image, text or "edited", out)
    etas = strength if isinstance(strength, tuple) else (0.0,)  # an automatic eta does not enter the name
    paths = api.output_paths(target, [(each, seed + index) for index in range(num_seeds) for each in etas])
    paths = paths if named else free(paths)
    for path in paths:
        check_output(path, picture, overwrite)
    for extra in (save_state, sheet):
        if extra is not None:
            check_writable(extra, overwrite)
    if animate is not None:
        check_sweep_output(animate, overwrite)

    started = time.monotonic()
    shown: list[str] = []
    of_fit = {"method": method, "preset": preset, "source_text": source, "crop": box}
    if state is not None:
        if asked := [name for name, value in of_fit.items() if value is not None]:
            raise typer.BadParameter(f"The state has its {', '.join(asked)} already: leave that out.")
        with busy("Loading the model"):
            fitted = api.Fit.load(state, picture, model, device, dtype)
        edit_values = values
    else:
        fit_values, edit_values = api.split_options(registry.method(method or api.DEFAULT_METHOD), values)
        fitted = fit_picture(picture, text or "", model, device, dtype, seed, fit_values, of_fit, shown)
    if save_state is not None:
        fitted.save(save_state, overwrite)
    fit_seconds = time.monotonic() - started
    with progress_bars() as update:
        edited = api.edit(
            fitted,
            text,
            eta=strength,
            seed=seed,
            num_seeds=num_seeds,
            plain=plain,
            options=edit_values,
            on_progress=update,
        )
    show_warnings(edited.warnings, shown)
    paths = paths if named else free(paths)
    edited.save_each(paths, overwrite)
    if sheet is not None:
        edited.sheet(sheet, overwrite)
    if animate is not None:
        edited.animate(animate, overwrite)
    if as_json:
        seconds = {"fit": fit_seconds, "edit": time.monotonic() - started - fit_seconds}
        extras = {"state": save_state, "sheet": sheet, "animation": animate}
        emit_json(describe(edited, paths, seconds) | {name: path and str(path) for name, path in extras.items()})
    else:
        for path in paths:
            typer.echo(path)


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
    fitted = fit_picture(picture, text, model, device, dtype, seed, values, of_fit, shown)
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
    seed: int,
    values: Mapping[str, Any],
    of_fit: Mapping[str, Any],
    shown: list[str],
) -> Fit:
    """Load the model and fit, with warnings about the texts before the work.

    of_fit: method, preset, source_text, crop, None where not given. shown: warnings shown so far; new ones are added.
    """
    from imagic import api

    with busy("Loading the model"):
        backbone = api.load_model(model or api.DEFAULT_MODEL, device, dtype)
    for each in (text, of_fit["source_text"]):
        show_warnings(api.text_warnings(backbone, each) if each else (), shown)
    asked = {name: value for name, value in of_fit.items() if value is not None}
    with progress_bars() as update:
        return api.fit(picture, text, model=backbone, seed=seed, options=values, on_progress=update, **asked)


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
    # JSON has no infinity, such as the PSNR of two equal pictures.
    scores = {name: value if math.isfinite(value) else None for name, value in candidate.scores.items()}
    return {"eta": candidate.strength, "seed": candidate.seed, "scores": scores}
