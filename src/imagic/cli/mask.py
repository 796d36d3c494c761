"""`imagic mask`: where a text would change a picture."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from imagic.cli import options as given
from imagic.cli.loading import Loading, loads_a_model
from imagic.cli.naming import beside, free
from imagic.cli.show import busy, emit_json, progress_bars, warn
from imagic.cli.values import parse_crop, parse_settings


@loads_a_model
def mask(
    image: given.ImageFile,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the result will show.")],
    reference: Annotated[
        str, typer.Option(metavar="TEXT", help="What the picture shows; else TEXT is compared with no text.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="PNG, or a folder; else beside IMAGE.")] = None,
    model: given.Model = None,
    seed: Annotated[int, typer.Option(help="Of the noises that the mask is found with.", min=0)] = 0,
    crop: given.Crop = None,
    feather: given.Feather = None,
    invert_mask: given.InvertMask = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any mask option of `imagic methods diffedit`; repeatable."),
    ] = None,
    overwrite: given.Overwrite = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    *,
    loading: Loading,
) -> None:
    """Write where a text would change a picture: white may change, black stays. Print where the mask is.

    Paint over it as you like, and give it to `imagic edit --mask`.
    """
    box, flags = parse_crop(crop), {"mask_feather": feather, "mask_invert": invert_mask or None}
    values = parse_settings(settings or ()) | {name: value for name, value in flags.items() if value is not None}

    from imagic import api
    from imagic.core.images import read_image
    from imagic.core.masks import check_mask_output

    for each in (text, reference) if reference else (text,):
        api.check_text(each)
    picture = read_image(image)
    named = out is not None and not out.is_dir()
    path = out if out is not None and named else free([beside(image, text, out, "-mask.png")])[0]
    check_mask_output(path, overwrite)
    started = time.monotonic()
    with busy("Loading the model"):
        backbone = api.load_model(model or api.DEFAULT_MODEL, device, dtype, **loading)
    with progress_bars() as update:
        found = api.find_mask(
            picture, text, reference, model=backbone, seed=seed, crop=box, options=values, on_progress=update
        )
    for sentence in found.notes:
        warn(sentence)
    path = path if named else free([path])[0]
    found.save(path, overwrite)
    if as_json:
        seconds = {"mask": time.monotonic() - started}
        emit_json(
            {
                "version": 1,
                "mask": str(path),
                "share": found.share,
                "warnings": list(found.notes),
                "seconds": seconds,
            }
        )
    else:
        typer.echo(path)
