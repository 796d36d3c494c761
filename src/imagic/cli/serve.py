"""`imagic serve`: edits over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagic.cli import options as given
from imagic.cli.show import say


def serve(
    host: Annotated[str, typer.Option(help="The address; any but this computer's own asks for a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.", min=0, max=65535)] = 7860,
    model: given.Model = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Where jobs are kept; else with your data.")] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask for a key, whose hash is there; made if it is missing.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name by which the service is called; repeatable.")
    ] = None,
    max_megabytes: Annotated[int, typer.Option(help="Of a request.", min=1)] = 64,
    max_megapixels: Annotated[float, typer.Option(help="Of an uploaded picture.", min=0.001, max=64)] = 24.0,
    max_queue: Annotated[int, typer.Option(help="Most unfinished edits.", min=1)] = 64,
    max_per_client: Annotated[int, typer.Option(help="Most unfinished edits of one address.", min=1)] = 16,
    device: given.Device = None,
    dtype: given.Dtype = None,
) -> None:
    """Serve edits over HTTP, with a queue that survives whatever ends it, until Ctrl-C."""
    from imagic.core.errors import NotAvailable

    try:
        from imagic.serve.running import serve as run
    except ModuleNotFoundError as error:
        raise NotAvailable(f"imagic serve needs {error.name}: install it with pip install 'imagic[ui]'.") from error
    from imagic.serve.settings import Settings, default_data

    settings = Settings(
        data=(data or default_data()).absolute(),
        model=model or "menagerie",
        device=device,
        dtype=dtype,
        max_bytes=max_megabytes * 2**20,
        max_pixels=round(max_megapixels * 1e6),
        max_queue=max_queue,
        max_per_client=max_per_client,
    )
    run(settings, host, port, key_file, allow_host or (), say)
