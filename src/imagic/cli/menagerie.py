"""`imagic menagerie`: the small world of the bundled model."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from imagic.cli import options as given
from imagic.cli.naming import free
from imagic.cli.show import busy, emit_json, progress_bars, say

app = typer.Typer(help="The small world of the bundled model.", no_args_is_help=True)

AT_ONCE = 16  # pictures between two steps of the progress bar
LINE_SECONDS = 30.0  # between two lines of a training's log


@app.command("render")
def render(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A PNG; menagerie.png unless named.")] = None,
    count: Annotated[int, typer.Option(help="How many scenes.", min=1, max=1024)] = 16,
    seed: Annotated[int, typer.Option(help="The first scene; the others follow.", min=0, max=2**39)] = 0,
    columns: Annotated[int, typer.Option(help="Scenes side by side.", min=1, max=64)] = 4,
    held_out: Annotated[bool, typer.Option("--held-out", help="Scenes that training never sees.")] = False,
    overwrite: given.Overwrite = False,
    as_json: given.AsJson = False,
    device: given.Device = None,
) -> None:
    """Draw scenes side by side, row by row, and print where the picture is; --json adds a caption of each."""
    import numpy as np
    import torch

    from imagic.core.files import check_writable
    from imagic.core.sheet import write_sheet
    from imagic.core.types import Progress
    from imagic.menagerie.captions import caption
    from imagic.menagerie.training.world import draw, scenes_of, tile

    path = out or free([Path("menagerie.png")])[0]
    if path.suffix.lower() != ".png":
        raise typer.BadParameter("--out names a .png file.")
    check_writable(path, overwrite)
    scenes = scenes_of(seed, count, held_out=held_out)
    images = []
    with progress_bars() as update:
        for start in range(0, count, AT_ONCE):
            images.append(draw(scenes[start : start + AT_ONCE], device or "cpu").cpu())
            update(Progress("render", min(start + AT_ONCE, count), count))
    write_sheet(path, tile(torch.cat(images), columns), overwrite)
    if as_json:
        captions = [caption(scene, np.random.default_rng(seed + index)) for index, scene in enumerate(scenes)]
        listed = [{"seed": seed + index, "caption": text} for index, text in enumerate(captions)]
        emit_json({"version": 1, "path": str(path), "held_out": held_out, "scenes": listed})
    else:
        typer.echo(path)


@app.command("train")
def train(
    part: Annotated[
        str, typer.Argument(metavar="PART", help="vae (first), decoder, judge, clip, diffusion, instruct; base, upper.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of checkpoints; a run in it goes on.")],
    preset: Annotated[str, typer.Option(help="smoke (a minute), cpu (hours) or gpu.")] = "cpu",
    steps: Annotated[int | None, typer.Option(help="Another number of steps than the preset's.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Of weights and data.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="A model folder, or an export of the part, that a new run begins with.")
    ] = None,
    as_json: given.AsJson = False,
    device: given.Device = None,
) -> None:
    """Train a part of the bundled model, or go on with it; print where it was exported."""
    from imagic.backbones.quiet import quiet
    from imagic.core.types import Progress

    with quiet():  # the pipelines tell what is not installed when they are first named
        from imagic.menagerie import train as trainer

    said = -math.inf
    values: dict[str, float] = {}
    with progress_bars() as update:
        rows = trainer.train(part, preset, out, device=device or "cpu", steps=steps, seed=seed, start=start)
        for report in rows:
            values = {**report.values, "images_per_second": report.images_per_second}
            update(Progress(part, report.step, report.steps, values))
            last = report.step == report.steps
            if not sys.stderr.isatty() and (last or time.monotonic() - said >= LINE_SECONDS):
                said = time.monotonic()
                say(report.line())
    folder = out / part / "export"
    if as_json:
        emit_json({"version": 1, "part": part, "preset": preset, "path": str(folder), "values": values})
    else:
        typer.echo(folder)


@app.command("score")
def score(
    part: Annotated[str, typer.Argument(metavar="[PART]", help="model (with the judge) or clip.")] = "model",
    model: given.Model = None,
    judge: Annotated[Path | None, typer.Option(help="The judge's file; else the bundled one.")] = None,
    clip: Annotated[str, typer.Option(help="Folder of the CLIP to score; else the bundled one.")] = "menagerie",
    count: Annotated[int, typer.Option(help="Held-out scenes and captions; hundreds for clip.", min=60)] = 300,
    guidance: Annotated[list[float] | None, typer.Option(help="Guidance scale, repeatable; else several.")] = None,
    num_steps: Annotated[int, typer.Option(help="Sampling steps.", min=1)] = 20,
    as_json: given.AsJson = False,
    device: given.Device = None,
) -> None:
    """Score judge, autoencoder and generations, or the CLIP, on held-out scenes; print the tables."""
    import torch

    from imagic import api
    from imagic.core.encoder import open_encoder
    from imagic.menagerie import retrieval
    from imagic.menagerie import score as scorer
    from imagic.menagerie.judge import load_judge

    if part not in ("model", "clip"):
        raise typer.BadParameter("PART is model or clip.")
    if part == "clip":
        if count % retrieval.AMONG:
            raise typer.BadParameter(f"--count for clip is a multiple of {retrieval.AMONG}.")
        with busy("Loading the CLIP"):
            work = retrieval.score_clip(open_encoder(clip, torch.device(device or "cpu")), count)
    else:
        with busy("Loading the model"):
            reader = load_judge(judge)
            backbone = api.load_model(model or api.DEFAULT_MODEL, device)
        work = scorer.score(backbone, reader, count, guidance or scorer.GUIDANCE_SCALES, num_steps)
    with progress_bars() as update:
        scores = api.finish(work, update)
    if as_json:
        emit_json({"version": 1, "scores": [dataclasses.asdict(each) for each in scores]})
    else:
        typer.echo(scorer.table(scores), nl=False)
