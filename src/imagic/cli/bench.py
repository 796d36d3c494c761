"""`imagic bench`: methods over suites of edits with known truth, and the tables of such runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from imagic.cli import options as given
from imagic.cli.show import busy, emit_json, progress_bars, say
from imagic.cli.values import parse_settings

app = typer.Typer(help="Measure methods on edits whose truth is known.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]


@app.command("run")
def run(
    out: Annotated[Path, typer.Option(help="Folder of rows and pictures; a rerun makes only what is missing.")],
    suite: Annotated[str, typer.Option(help="The suite of edits.")] = "menagerie",
    methods: Annotated[str, typer.Option(help="Methods, baselines or variants, separated by commas.")] = "imagic",
    limit: Annotated[int | None, typer.Option(help="Only so many items.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The seed of every item.", min=0)] = 0,
    preset: given.Preset = None,
    settings: given.Settings = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only every N-th item, from the I-th.")] = "1/1",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try items with an error again.")] = False,
    model: given.Model = None,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
) -> None:
    """Run methods over a suite; print the folder of the rows."""
    values = parse_settings(settings or ())
    labels = [label.strip() for label in methods.split(",") if label.strip()]
    if not labels:
        raise typer.BadParameter("--methods names one at least.")

    from imagic import api
    from imagic.bench import catalogue, runner
    from imagic.bench.suites import open_suite
    from imagic.core import registry

    part = runner.Shard.parse(shard)
    chosen = open_suite(suite, limit)
    plain = [label for label in labels if label in registry.names(registry.Group.METHODS)]
    if values and len(plain) != 1:
        raise typer.BadParameter("--set needs one method to set options of; baselines and variants have their own.")
    fit_values, edit_values = api.split_options(registry.method(plain[0]), values) if values else ({}, {})
    entries = catalogue.entries(labels, preset or "", fit_values, edit_values)
    with busy("Loading the model"):
        backbone = api.load_model(model or api.DEFAULT_MODEL, device, dtype)
    work = runner.run(out, chosen, entries, backbone, seed=seed, shard=part, retry_failed=retry_failed)
    with progress_bars(one=True) as update:
        summary = api.finish(work, update)
    if as_json:
        emit_json({"version": 1, "folder": str(out), **dataclasses.asdict(summary)})
    else:
        say(f"{summary.written} rows written ({summary.failed} with an error), {summary.skipped} there already.")
        typer.echo(out)


@app.command("report")
def report(
    folder: Folder,
    as_json: given.AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Write the curves over eta (PNG); needs matplotlib.")] = None,
) -> None:
    """Print the table of a run as Markdown."""
    from imagic.bench import curves
    from imagic.bench import report as reports
    from imagic.bench.rows import plain

    rows = reports.load(folder)
    if plot is not None:
        curves.plot(rows, list(dict.fromkeys(row["label"] for row in rows)), plot)
    if as_json:
        lines = [dataclasses.asdict(line) for line in reports.summarise(rows)]
        emit_json(plain({"version": 1, "lines": lines}))
    else:
        typer.echo(reports.markdown(rows), nl=False)
