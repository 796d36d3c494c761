"""`imagic cache`: what is kept of fits, and making room."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagic.cli import options as given
from imagic.cli.show import emit_json

if TYPE_CHECKING:
    from imagic._store import Entry, Store

app = typer.Typer(help="Look through the fits that are kept, and make room.", no_args_is_help=True)


@app.command("list")
def list_(as_json: given.AsJson = False) -> None:
    """List what is kept: finished fits and checkpoints of running ones, the longest unused first."""
    store = _store()
    entries = store.entries()
    if as_json:
        emit_json({"version": 1, "folder": str(store.folder), "entries": [_described(entry) for entry in entries]})
        return
    for entry in entries:
        typer.echo(_line(entry))
    typer.echo(f"{len(entries)} files, {_size(sum(entry.size for entry in entries))} in {store.folder}")


@app.command()
def prune(
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Remove what was not used for so many days.", min=0.0)
    ] = None,
    max_size: Annotated[
        float | None, typer.Option(metavar="GB", help="Then the longest unused, until this is left.", min=0.0)
    ] = None,
    as_json: given.AsJson = False,
) -> None:
    """Remove fits by age and size; without options, down to the limit (IMAGIC_CACHE_GB, else 5). Fits that a process is
    making stay."""
    from imagic._store import DAY, GIGABYTE, default_gigabytes

    # Files carry the time of the wall clock, the only one that two processes share.
    oldest = None if older_than is None else time.time() - older_than * DAY
    if max_size is None:
        max_size = default_gigabytes() if older_than is None else float("inf")
    _report(_store().prune(max_size * GIGABYTE, oldest), as_json)


@app.command()
def clear(as_json: given.AsJson = False) -> None:
    """Remove all that is kept, but for the fits that a process is making."""
    _report(_store().prune(-1), as_json)


def _store() -> Store:
    from imagic._store import Store, default_folder

    return Store(default_folder())


def _report(removed: list[Entry], as_json: bool) -> None:
    if as_json:
        emit_json({"version": 1, "removed": [_described(entry) for entry in removed]})
    else:
        typer.echo(f"removed {len(removed)} files, {_size(sum(entry.size for entry in removed))}")


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "kind": entry.kind,
        "path": str(entry.path),
        "bytes": entry.size,
        "used": entry.used,
        "about": entry.about,
    }


def _line(entry: Entry) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    about = entry.about
    if "stages" in about:
        what = ", ".join(f"{name} at step {step}" for name, step in about["stages"].items())
    else:
        what = f"{about['method']} on {about['model']}: {about['target_text']}" if about else "damaged"
    return f"{entry.key[:12]}  {used}  {_size(entry.size):>9}  {entry.kind:<10}  {what}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
