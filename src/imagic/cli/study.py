"""`imagic bench study`: people, or the known truth, say which of two results is better."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagic.cli import options as given
from imagic.cli.show import emit_json, say
from imagic.cli.values import parse_names

if TYPE_CHECKING:
    from imagic.bench.study import Study


def study(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run of two methods or more.")],
    methods: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    baseline: Annotated[str, typer.Option(metavar="METHOD", help="Only pairs with this one.")] = "",
    groups: Annotated[str, typer.Option(help="Only items of these groups, separated by commas.")] = "",
    questions: Annotated[int | None, typer.Option(help="So many pairs per person, drawn at random.", min=1)] = None,
    port: Annotated[int, typer.Option(help="Of the page, on this computer only; 0 for any.", min=0, max=65535)] = 8765,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="No people: decide by the known truth, success first, then its PSNR.")
    ] = False,
    show: Annotated[bool, typer.Option("--report", help="Print the tables of the answers so far.")] = False,
    seed: Annotated[int, typer.Option(help="Of the order and the sides.", min=0)] = 0,
    as_json: given.AsJson = False,
) -> None:
    """Ask people which result is better, on a page on this computer, until Ctrl-C; print the tables.

    Answers are kept in DIR/study.sqlite as they come.
    """
    if simulate and show:
        raise typer.BadParameter("--report shows the answers of people: give it without --simulate.")
    from imagic.bench import report as reports
    from imagic.bench import study as studies
    from imagic.bench.study.store import NAME
    from imagic.core.errors import OutputError

    path = folder / NAME
    if show and not path.is_file():
        raise OutputError(f"Nobody has answered in {folder} yet: run imagic bench study on it first.")
    if show:
        found = studies.tally(studies.Store(path).answers(), baseline)
    else:
        rows = reports.load(folder)
        selection = parse_names(methods), baseline, parse_names(groups), questions, seed
        if simulate:
            with tempfile.TemporaryDirectory() as temporary:
                opened = studies.open_study(folder, rows, Path(temporary) / NAME, *selection)
                studies.simulate(opened)
                found = studies.tally(opened.store.answers(), baseline)
        else:
            opened = studies.open_study(folder, rows, path, *selection)
            _serve(opened, port)
            found = studies.tally(opened.store.answers(), baseline)
    if as_json:
        emit_json({"version": 1, **studies.plain(found)})
    else:
        typer.echo("\n\n".join(table.markdown() for table in studies.tables(found)))


def _serve(opened: Study, port: int) -> None:
    """Until Ctrl-C."""
    from imagic.bench.study.server import StudyServer

    with StudyServer(opened, port) as server, contextlib.suppress(KeyboardInterrupt):
        say(f"{len(opened.pairs)} pairs, at {server.url} until Ctrl-C")
        server.serve_forever()
