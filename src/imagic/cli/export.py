"""`imagic export`: what a fit learned, as files that diffusers and other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagic.cli import options as given
from imagic.cli.loading import Loading, loads_a_model
from imagic.cli.naming import free
from imagic.cli.show import busy, emit_json


@loads_a_model
def export(
    state: Annotated[Path, typer.Argument(metavar="STATE", help="What `imagic fit` wrote (.safetensors).")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="The folder to fill; else beside STATE.")
    ] = None,
    eta: Annotated[float | None, typer.Option(help="Also the embedding at this strength.", min=0.0, max=2.0)] = None,
    text: Annotated[str, typer.Option(help="Another target, for a fit with a source text.")] = "",
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="diffusers|kohya", help="Of the names; kohya, of SD and SDXL: for ComfyUI and others."
        ),
    ] = "diffusers",
    full: Annotated[
        bool, typer.Option("--full", help="The whole tuned network instead of what changed in it.")
    ] = False,
    model: given.Model = None,
    overwrite: given.Overwrite = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    *,
    loading: Loading,
) -> None:
    """Write what a fit learned for other programs, and print where.

    imagic export dog.safetensors -o dog --eta 0.7
    """
    from imagic import api

    folder = out or free([state.with_name(f"{state.stem}-export")])[0]
    with busy("Loading the model"):
        paths = api.export(
            state,
            folder,
            eta=eta,
            text=text,
            form=form,
            full=full,
            model=model,
            device=device,
            dtype=dtype,
            loading=loading,
            overwrite=overwrite,
        )
    if as_json:
        emit_json({"version": 1, "files": [str(path) for path in paths]})
    else:
        for path in paths:
            typer.echo(path)
