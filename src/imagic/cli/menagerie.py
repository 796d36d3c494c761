"""`imagic menagerie`: the small world of the bundled model: its pictures, its training, its scores."""

from __future__ import annotations

import typer

app = typer.Typer(help="The small world of the bundled model.", no_args_is_help=True)
