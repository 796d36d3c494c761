"""The options that say who does the work, for every command that does much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from imagic.batch.types import Crew
    from imagic.batch.work import Opening


def _option(help: str, *names: str, **further: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Who does the work", **further)


Workers: TypeAlias = Annotated[
    int | None,
    _option("So many processes, each with the model; with --ray so many actors. Else this process.", min=1),
]
Ray: TypeAlias = Annotated[
    str | None,
    _option("Actors of a Ray cluster, one for each GPU; needs imagic\\[ray].", metavar="ADDRESS|local"),
]
Shard: TypeAlias = Annotated[
    str, _option("Only part I of N, for runs side by side such as a SLURM array.", metavar="I/N")
]


def crew_of(opening: Opening, workers: int | None, ray: str | None) -> Crew:
    """Who does the work, loaded when its context is entered."""
    if ray is not None:
        from imagic.batch.cluster import Cluster

        return Cluster(opening, ray, workers)
    if workers is not None:
        from imagic.batch.processes import Processes

        return Processes(opening, workers)
    from imagic.batch.inline import Inline

    return Inline(opening.open)
