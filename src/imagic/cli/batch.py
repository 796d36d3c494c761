"""`imagic batch`: many edits, from a folder or a table to a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from imagic.cli import crews, keeping
from imagic.cli import options as given
from imagic.cli.crews import crew_of
from imagic.cli.loading import Loading, loads_a_model
from imagic.cli.marking import Marks, marks_pictures
from imagic.cli.show import emit_json, progress_bars, say
from imagic.cli.values import parse_crop, parse_settings, parse_strength


@loads_a_model
@marks_pictures
def batch(
    jobs: Annotated[Path, typer.Argument(metavar="JOBS|DIR", help="A .jsonl or .csv table, or a folder of pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of results and of report.jsonl.")],
    text: Annotated[str, typer.Option(help="What results show, where neither table nor a .txt beside says it.")] = "",
    name: Annotated[
        str, typer.Option(metavar="TEMPLATE", help="Such as {stem}-{seed}.png; also {text}, {method}, {eta}, {number}.")
    ] = "",
    method: given.Method = None,
    model: given.Model = None,
    strength: given.Strength = "auto",
    seed: given.Seed = 0,
    num_seeds: given.NumSeeds = 1,
    preset: given.Preset = None,
    source: given.SourceText = None,
    crop: given.Crop = None,
    plain: given.Plain = False,
    mask: Annotated[
        str, typer.Option(metavar="auto|FILE", help="Where pictures may change, for jobs without a mask of their own.")
    ] = "",
    settings: given.Settings = None,
    retry: Annotated[int, typer.Option(help="How often a job that failed is tried again.", min=0)] = 0,
    workers: crews.Workers = None,
    ray: crews.Ray = None,
    shard: crews.Shard = "1/1",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that other jobs or settings made.")
    ] = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
    dtype: given.Dtype = None,
    no_cache: keeping.NoCache = False,
    checkpoint_seconds: keeping.CheckpointSeconds = keeping.SECONDS,
    *,
    loading: Loading,
    marks: Marks,
) -> None:
    """Edit many pictures, and print where the report is; what is done in DIR is not done again.

    imagic batch pictures --text "a sitting dog" --out edited
    """
    asked, box, values = parse_strength(strength), parse_crop(crop), parse_settings(settings or ())
    strengths = (None,) if asked == "auto" else asked if isinstance(asked, tuple) else (asked,)

    from imagic import api
    from imagic._store import default_folder
    from imagic.batch import edits, naming, reading
    from imagic.batch.jobs import Defaults
    from imagic.batch.results import Results
    from imagic.batch.run import run
    from imagic.batch.shards import Shard
    from imagic.core.errors import OutputError
    from imagic.core.images import read_image

    part = Shard.parse(shard)
    naming.check_template(name)
    if mask not in ("", "auto"):
        read_image(mask)
    if jobs.is_dir() and jobs.resolve() == out.resolve():
        raise OutputError(
            "Results beside the pictures would be edited by the next run: name another folder with --out."
        )
    defaults = Defaults(
        text=text,
        source_text=source or "",
        method=method or api.DEFAULT_METHOD,
        preset=preset or "",
        seed=seed,
        num_seeds=num_seeds,
        strengths=strengths,
        crop=box,
        plain=plain,
        mask=mask if mask in ("", "auto") else str(Path(mask).absolute()),
        options=values,
        name=name,
    )
    found = reading.read_jobs(jobs, defaults)
    of_model = {"name_or_path": model or api.DEFAULT_MODEL, "dtype": dtype, **loading}
    cache = {
        "folder": str(default_folder().absolute()),
        "fits": not no_cache,
        "checkpoint": "none" if no_cache else "auto",
        "checkpoint_seconds": checkpoint_seconds,
    }
    work = edits.opening({**of_model, "device": device}, cache, marks.metadata, marks.signing())
    # Runs that sign nothing are told apart as they were before signing was there.
    of_marks = {"metadata": marks.metadata, **({"signed": True} if marks.sign else {})}
    results = Results(out, {**of_model, **of_marks}, part, overwrite)
    crew = crew_of(work, workers, ray)
    try:
        with progress_bars(one=True) as update:
            summary = api.finish(run(found, results, crew, retry=retry, on_step=update, say=say), update)
    except KeyboardInterrupt as stop:
        stop.add_note(f"What is done stays in {out}; the same command goes on.")
        raise
    if as_json:
        emit_json({"version": 1, "report": str(results.report), **dataclasses.asdict(summary)})
    else:
        done = summary.written - summary.failed
        say(f"{done} results written, {summary.failed} jobs failed, {summary.skipped} were done already.")
        typer.echo(results.report)
    if summary.failed:
        raise typer.Exit(1)
