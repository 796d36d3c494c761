"""The `imagic` command: puts the groups together and turns errors that the user can mend into one sentence."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from imagic import __version__
from imagic.cli import batch, bench, cache, doctor, edit, export, inspection, listing, mask, menagerie, serve
from imagic.cli.show import say
from imagic.core.errors import ImagicError, plain

UsageError: Any = typer.BadParameter.__base__  # of the click that this version of typer brings
INTERRUPTED = 130  # typer's exit code after Ctrl-C


class OneSentence(TyperGroup):
    """Shows an ImagicError as its sentence and exits with 1, and on Ctrl-C says what is kept and exits with 130; any
    other exception is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")  # the name of a file may be no text: its bytes are printed
        try:
            return super().invoke(ctx)
        except ImagicError as error:
            say(f"Error: {plain(str(error))}")
            _say_notes(error)
            raise typer.Exit(1) from error
        except UsageError as error:
            error.message = plain(error.message)
            raise
        except KeyboardInterrupt as stop:
            _say_notes(stop)
            raise


def _say_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        say(note)


app = typer.Typer(
    name="imagic",
    cls=OneSentence,
    help="Edit a real photograph by text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Edit a real photograph by text: one image, one sentence that describes the result."""


app.command("edit")(edit.edit)
app.command("fit")(edit.fit)
app.command("export")(export.export)
app.command("mask")(mask.mask)
app.command("batch")(batch.batch)
app.command("redo")(inspection.redo)
app.command("inspect")(inspection.inspect)
app.command("methods")(listing.methods)
app.command("models")(listing.models)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.add_typer(menagerie.app, name="menagerie")
app.add_typer(bench.app, name="bench")
app.add_typer(cache.app, name="cache")


def main() -> None:
    """The entry point of the `imagic` command."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # all is done, and taking torch down would take seconds more
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
