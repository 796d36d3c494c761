"""What a command says: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from imagic.cli.stopping import stopping_between_steps

if TYPE_CHECKING:
    from rich.progress import TaskID

    from imagic.core.types import Progress


def say(message: str) -> None:
    """A line on stderr."""
    typer.echo(message, err=True)


def warn(message: str) -> None:
    """A warning on stderr."""
    typer.echo(typer.style("Warning: ", fg="yellow") + message, err=True)


def emit_json(value: Any) -> None:
    """A result as JSON on stdout. Not-a-number is an error, since JSON has none."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


@contextmanager
def progress_bars(one: bool = False) -> Iterator[Callable[[Progress], None]]:
    """A callback that draws a bar per stage on stderr, or one bar for all stages, labelled with the present one.

    Where stderr is no terminal it writes a line per stage, or with one bar a line per step. Ctrl-C ends the work in the
    callback, between two steps.
    """
    # Imported here: --help has no need of rich's live display.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    bars = Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}
    lines: set[str] = set()

    def update(progress: Progress) -> None:
        key = "" if one else progress.stage
        values = "  ".join(f"{name} {value:.4g}" for name, value in progress.values.items())
        if key not in tasks:
            tasks[key] = bars.add_task(progress.stage, total=progress.total, values=values)
        bars.update(
            tasks[key], description=progress.stage, completed=progress.step, total=progress.total, values=values
        )
        steps = f" ({progress.total} steps)" if progress.total > 1 else ""
        line = f"{progress.step} of {progress.total}" if one else f"{progress.stage}{steps}"
        if not console.is_terminal and line not in lines:
            lines.add(line)
            say(f"{line}: {progress.stage}  {values}" if one else line)
        look()

    with stopping_between_steps() as look, bars:
        yield update


@contextmanager
def busy(message: str) -> Iterator[None]:
    """A spinner on stderr while something of unknown length happens; a line where stderr is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(message):
            yield
    else:
        say(message)
        yield
