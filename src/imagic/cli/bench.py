"""`imagic bench`: methods over suites of edits, and the tables of such runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from imagic.cli import crews
from imagic.cli import options as given
from imagic.cli.crews import crew_of
from imagic.cli.loading import Loading, loads_a_model
from imagic.cli.show import busy, emit_json, progress_bars, say
from imagic.cli.study import study
from imagic.cli.values import parse_names, parse_settings

app = typer.Typer(help="Measure methods on suites of edits.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]
MetricWeights = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=PATH", help="Weights of a metric, never downloaded; repeatable; see docs/metrics.md."),
]


@app.command("run")
@loads_a_model
def run(
    out: Annotated[Path, typer.Option(help="Folder of rows and pictures; a rerun makes only what is missing.")],
    suite: Annotated[str, typer.Option(help="The suite of edits; see docs/benchmarks.md.")] = "menagerie",
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="The files of a suite that is not bundled.")] = None,
    target: Annotated[str, typer.Option(metavar="TEXT", help="Suite domain: what the results show.")] = "",
    source: Annotated[str, typer.Option(metavar="TEXT", help="Suite domain: what the pictures show.")] = "",
    methods: Annotated[str, typer.Option(help="Methods, baselines or variants, separated by commas.")] = "imagic",
    limit: Annotated[int | None, typer.Option(help="Only so many items.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The seed of every item.", min=0)] = 0,
    preset: given.Preset = None,
    settings: given.Settings = None,
    sweep: Annotated[
        str, typer.Option(metavar="strength[=A,B,...]", help="A row for each strength, by default 0.3, 0.4, ... 1.")
    ] = "",
    metrics: Annotated[str, typer.Option(help="More metrics of each result, such as ms-ssim:kept,clip-score.")] = "",
    metric_weights: MetricWeights = None,
    workers: crews.Workers = None,
    ray: crews.Ray = None,
    shard: crews.Shard = "1/1",
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
    labels = parse_names(methods)
    if not labels:
        raise typer.BadParameter("--methods names one at least.")

    from imagic import api
    from imagic.batch.shards import Shard
    from imagic.bench import catalogue, runner, trials
    from imagic.bench.asked import Asked
    from imagic.core import registry

    part = Shard.parse(shard)
    named = catalogue.methods_of(labels)
    if values and len(named) != 1:
        raise typer.BadParameter("--set needs one method, or variants of one, to set options of.")
    fit_values, edit_values = api.split_options(registry.method(named[0]), values) if values else ({}, {})
    asked = Asked(
        out=str(out),
        suite=suite,
        methods=labels,
        limit=limit,
        data="" if data is None else str(data),
        target_text=target,
        source_text=source,
        seed=seed,
        preset=preset or "",
        fit=fit_values,
        edit=edit_values,
        sweep=trials.parse_sweep(sweep),
        metrics=parse_names(metrics),
        metric_weights=metric_weights or (),
        model={"name_or_path": model or api.DEFAULT_MODEL, "device": device, "dtype": dtype, **loading},
    )
    chosen, tried = asked.open_suite(), asked.trials()
    crew = crew_of(asked.opening(), workers, ray)
    with progress_bars(one=True) as update:
        work = runner.run_with(
            crew, out, chosen, tried, seed=seed, shard=part, retry_failed=retry_failed, on_step=update, say=say
        )
        summary = api.finish(work, update)
    if as_json:
        emit_json({"version": 1, "folder": str(out), **dataclasses.asdict(summary)})
    else:
        say(f"{summary.written} rows written ({summary.failed} with an error), {summary.skipped} there already.")
        typer.echo(out)


@app.command("ablation")
@loads_a_model
def ablation(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as diffedit-no-mask; a wrong name lists them.")],
    out: Annotated[Path, typer.Option(help="Folder of rows and pictures; a rerun makes only what is missing.")],
    suite: Annotated[str, typer.Option(help="The suite of edits; see docs/benchmarks.md.")] = "menagerie",
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="The files of a suite that is not bundled.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many items.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The seed of every item.", min=0)] = 0,
    sweep: Annotated[str, typer.Option(metavar="strength[=A,B,...]", help="A row for each strength.")] = "",
    model: given.Model = None,
    device: given.Device = None,
    dtype: given.Dtype = None,
    *,
    loading: Loading,
) -> None:
    """Run a paper's ablation over a suite; print its report, each variant compared with the whole method."""
    from imagic import api
    from imagic.bench import ablations, catalogue, compare, documents, runner, trials
    from imagic.bench import report as reports
    from imagic.bench.suites import open_suite

    labels = ablations.experiment(name)
    strengths = trials.parse_sweep(sweep)
    chosen = open_suite(suite, limit, data=data)
    entries = catalogue.entries(labels)
    with busy("Loading the model"):
        backbone = api.load_model(model or api.DEFAULT_MODEL, device, dtype, **loading)
    with progress_bars(one=True) as update:
        work = runner.run(out, chosen, entries, backbone, seed=seed, sweep=strengths, on_step=update)
        api.finish(work, update)
    rows = reports.load(out)
    more = [compare.table(compare.compare_within(rows, labels[0]))]
    typer.echo(documents.markdown(rows, more), nl=False)


app.command("study")(study)


@app.command("report")
def report(
    folder: Folder,
    as_json: given.AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Write the curves over eta (PNG); needs matplotlib.")] = None,
    sets: Annotated[str, typer.Option(help="Metrics over all results, such as fid:clip,kid:image-model.")] = "",
    references: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Pictures that --sets compares with; else the true edits.")
    ] = None,
    metric_weights: MetricWeights = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write report.html or report.md instead; repeatable."),
    ] = None,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Write each figure as SVG into a folder.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Compare with another run, on the items of both.")
    ] = None,
    baseline: Annotated[str, typer.Option(metavar="METHOD", help="Compare each other method with this one.")] = "",
    distance: Annotated[str, typer.Option(metavar="NAME", help="Of the trade-off, such as lpips-alex.")] = "",
    alignment: Annotated[str, typer.Option(metavar="NAME", help="Of the trade-off, such as clip-score.")] = "",
    overwrite: given.Overwrite = False,
    device: given.Device = None,
) -> None:
    """Print the tables of a run as Markdown, or write them with figures and pictures as HTML."""
    from imagic.bench import compare, curves, documents, lines
    from imagic.bench import report as reports
    from imagic.bench import sets as over_sets
    from imagic.bench.rows import plain
    from imagic.metrics import weights

    for path in output or ():
        documents.check(path, overwrite)
    rows = reports.load(folder)
    comparisons = compare.compare_within(rows, baseline) if baseline else []
    if against is not None:
        comparisons += compare.compare_runs(rows, reports.load(against), folder, against)
    scores = over_sets.score_sets(
        folder, rows, parse_names(sets), weights.parse(metric_weights or ()), device or "cpu", references
    )
    if plot is not None:
        curves.plot(rows, list(dict.fromkeys(row["label"] for row in rows)), plot)
    more = [compare.table(comparisons)] if comparisons else []
    more += [over_sets.table(scores)] if scores else []
    for path in output or ():
        documents.write(path, folder, rows, more, distance, alignment, overwrite)
    written = [*(output or ())]
    if figures is not None:
        written += documents.write_figures(figures, rows, distance, alignment, overwrite)
    if as_json:
        found: dict[str, Sequence[Any]] = {"lines": lines.summarise(rows), "sets": scores, "comparisons": comparisons}
        listed = {name: [dataclasses.asdict(each) for each in values] for name, values in found.items()}
        emit_json(plain({"version": 1, **listed}))
    elif written:
        typer.echo("\n".join(map(str, written)))
    else:
        typer.echo(documents.markdown(rows, more, distance, alignment), nl=False)
