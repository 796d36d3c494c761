"""`imagic bench`: methods over suites of edits with known truth, and the tables of such runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from imagic.cli import options as given
from imagic.cli.loading import Loading, loads_a_model
from imagic.cli.show import busy, emit_json, progress_bars, say
from imagic.cli.values import parse_settings

app = typer.Typer(help="Measure methods on edits whose truth is known.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]
MetricWeights = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=PATH", help="Weights of a metric, never downloaded; repeatable; see docs/metrics.md."),
]


@app.command("run")
@loads_a_model
def run(
    out: Annotated[Path, typer.Option(help="Folder of rows and pictures; a rerun makes only what is missing.")],
    suite: Annotated[str, typer.Option(help="The suite of edits.")] = "menagerie",
    methods: Annotated[str, typer.Option(help="Methods, baselines or variants, separated by commas.")] = "imagic",
    limit: Annotated[int | None, typer.Option(help="Only so many items.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The seed of every item.", min=0)] = 0,
    preset: given.Preset = None,
    settings: given.Settings = None,
    metrics: Annotated[str, typer.Option(help="More metrics of each result, such as ms-ssim:kept,clip-score.")] = "",
    metric_weights: MetricWeights = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only every N-th item, from the I-th.")] = "1/1",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try items with an error again.")] = False,
    model: given.Model = None,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    *,
    loading: Loading,
) -> None:
    """Run methods over a suite; print the folder of the rows."""
    values = parse_settings(settings or ())
    labels = _listed(methods)
    if not labels:
        raise typer.BadParameter("--methods names one at least.")

    from imagic import api
    from imagic.bench import catalogue, runner
    from imagic.bench.measures import open_measures
    from imagic.bench.suites import open_suite
    from imagic.core import registry
    from imagic.metrics import weights

    part = runner.Shard.parse(shard)
    chosen = open_suite(suite, limit)
    plain = [label for label in labels if label in registry.names(registry.Group.METHODS)]
    if values and len(plain) != 1:
        raise typer.BadParameter("--set needs one method to set options of; baselines and variants have their own.")
    fit_values, edit_values = api.split_options(registry.method(plain[0]), values) if values else ({}, {})
    entries = catalogue.entries(labels, preset or "", fit_values, edit_values)
    measured = open_measures(_listed(metrics), weights.parse(metric_weights or ()))
    with busy("Loading the model"):
        backbone = api.load_model(model or api.DEFAULT_MODEL, device, dtype, **loading)
    work = runner.run(
        out, chosen, entries, backbone, seed=seed, shard=part, retry_failed=retry_failed, measures=measured
    )
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
    sets: Annotated[str, typer.Option(help="Metrics over all results, such as fid:clip,kid:image-model.")] = "",
    metric_weights: MetricWeights = None,
    device: given.Device = None,
) -> None:
    """Print the table of a run as Markdown."""
    from imagic.bench import curves
    from imagic.bench import report as reports
    from imagic.bench import sets as over_sets
    from imagic.bench.rows import plain
    from imagic.metrics import weights

    rows = reports.load(folder)
    scores = over_sets.score_sets(folder, rows, _listed(sets), weights.parse(metric_weights or ()), device or "cpu")
    if plot is not None:
        curves.plot(rows, list(dict.fromkeys(row["label"] for row in rows)), plot)
    if as_json:
        lines = [dataclasses.asdict(line) for line in reports.summarise(rows)]
        emit_json(plain({"version": 1, "lines": lines, "sets": [dataclasses.asdict(score) for score in scores]}))
    else:
        typer.echo(reports.markdown(rows), nl=False)
        if scores:
            typer.echo("\n" + over_sets.markdown(scores), nl=False)


def _listed(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
