"""The options that say how a fit is kept, for every command that fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from imagic.cli.show import warn

if TYPE_CHECKING:
    from imagic.api import Cache


def _option(help: str, *names: str, **further: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Keeping the fit", **further)


NoCache: TypeAlias = Annotated[
    bool, _option("Make the fit anew, and leave the cache folder alone (see `imagic cache`).", "--no-cache")
]
Checkpoint: TypeAlias = Annotated[
    str | None,
    _option(
        "Where a running fit is kept, to go on from after it was ended; else in the cache folder.",
        metavar="auto|none|FILE",
    ),
]
CheckpointSeconds: TypeAlias = Annotated[float, _option("Between two checkpoints.", min=0.0)]
SECONDS = 30.0  # as core.checkpoint has it, which --help need not import


def cache_of(no_cache: bool, checkpoint: str | None, seconds: float) -> Cache:
    """The options as the api takes them."""
    from imagic.api import Cache

    where = checkpoint or ("none" if no_cache else "auto")
    return Cache(fits=not no_cache, checkpoint=where, checkpoint_seconds=seconds, say=warn)


@contextmanager
def after_the_fit() -> Iterator[None]:
    """Ctrl-C within says that the fit is not lost."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note("The same command goes on; a fit that is kept is not made again.")
        raise
