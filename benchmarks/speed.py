"""Seconds, peak memory and FLOP of Imagic's stages, on models of the published sizes with random weights.

    python benchmarks/speed.py --models sd1.5 sdxl --presets fast paper community --out out/speed.json
    python benchmarks/speed.py --count    # FLOP and bytes alone: nothing is run, so any machine will do
    python benchmarks/speed.py --smoke    # tiny models, three steps: shows that the script works

`encode` is the picture and both texts in and one picture out; `A` and `B` are the fit; `sampling` the latents of two
pictures, a result and the one at eta 0; `search` automatic eta, its steps being rows that go through the network.
`community` is the schedule of Imagic among diffusers' community pipelines, 500 steps of 1e-3 and 1000 of 2e-6 with one
pair each, in float32, as a plain loop on the same model. The menagerie has its own weights, the others random ones.

With --steps a stage ends early, and its whole is estimated from the median step. FLOP are counted on one row, on
weights without storage, and multiplied: attention counts as its two products, measuring the loss curve does not count.
The peak is that of square products of matrices in the precision in which a stage multiplies.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.backbones.network import NetworkBackbone
from imagic.backbones.placement import default_autocast, default_device, default_dtype
from imagic.bench.machine import hardware, peak_memory, reset_peak_memory, versions
from imagic.bench.tables import Table, significant
from imagic.core import seeds
from imagic.core.conditioning import GUIDANCE, Conditioning
from imagic.core.losses import fixed_pairs
from imagic.core.memory import ran_out
from imagic.core.noise import add_noise, training_target
from imagic.core.options import build_options
from imagic.core.types import Progress, TuningPlan
from imagic.methods._imagic_fit import Subject, fit_embedding, fit_network, own_noise
from imagic.methods._imagic_options import PRESETS, EditOptions, FitOptions
from imagic.methods._imagic_render import Fitted, Shot, render
from imagic.methods._imagic_search import agreement_with, search

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of a script that is run as a file
from benchmarks.speed_models import MODELS, TEXT, Flop, build, count, kept

TINY = [name for name in MODELS if name.startswith("tiny-")]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COMMUNITY = "community"
# (steps, learning rate) of its two stages.
COMMUNITY_A, COMMUNITY_B = (500, 1e-3), (1000, 2e-6)
# Sides of the squares whose products are timed, and for how many seconds each.
SQUARES, SQUARES_CPU, SQUARES_SMOKE, PEAK_SECONDS = (4096, 8192, 16384), (512, 1024, 2048), (128,), 0.5
SMOKE_STEPS = 3
FITTED = ("embedding_steps", "network_steps", "inversion_steps")  # the options that a smoke run makes short


@dataclass
class Row:
    """One stage of one model. flop: of all its steps. seconds, memory: of the steps that ran, None where none did;
    whole: seconds of all, estimated where not all ran. fraction: of the measured peak, in a median step. kept: of B,
    what its gradients need of a row, in bytes of float32."""

    model: str
    preset: str
    tuning: str
    stage: str
    steps: int
    flop: float
    ran: int = 0
    dtype: str = ""
    seconds: float | None = None
    whole: float | None = None
    memory: dict[str, Any] | None = None
    kept: dict[str, int] | None = None
    fraction: float | None = None
    error: str = ""


# Runs a stage, by its name in the rows, to its end and returns its result.
Clock = Callable[[str, Generator[Progress, None, Any]], Any]


# What is computed


def guided_rows(backbone: NetworkBackbone) -> int:
    """How many rows of the network a guided one takes."""
    return 1 if GUIDANCE in backbone.encode_text([""]).tensors else 2


def searched_rows(edit: EditOptions, guided: int) -> int:
    """How many rows of the network a candidate of automatic eta takes: its rendering and its agreement."""
    return guided * edit.search_steps + 2 * edit.agreement_pairs


def stages(flop: Flop, preset: str, tuning: str, guided: int) -> dict[str, tuple[int, float]]:
    """Each stage's steps and the FLOP of one."""
    if preset == COMMUNITY:
        return {"A": (COMMUNITY_A[0], flop.embedding), "B": (COMMUNITY_B[0], flop.network)}
    fit, edit = options(preset, tuning, None)
    rows = searched_rows(edit, guided)
    inversion = {"inversion": (fit.inversion_steps, flop.forward)} if fit.start == "inversion" else {}
    return {
        "encode": (1, flop.encode + flop.decode),
        "A": (fit.embedding_steps, fit.embedding_pairs * flop.embedding),
        "B": (fit.network_steps, fit.network_pairs * flop.network),
        **inversion,
        "sampling": (edit.num_steps, 2 * guided * flop.forward),
        "search": ((edit.candidates + edit.refine) * rows, flop.forward + flop.decode / rows),
    }


def options(preset: str, tuning: str, steps: int | None) -> tuple[FitOptions, EditOptions]:
    """A preset's options. steps: the most of a stage, and then the least search."""
    fit: dict[str, Any] = {**PRESETS.get(preset, {}), "tuning": tuning}
    edit: dict[str, Any] = {}
    if steps:
        whole = build_options(FitOptions, fit)
        fit |= {name: min(steps, getattr(whole, name)) for name in FITTED}
        edit = {"num_steps": steps, "candidates": 3, "refine": 0, "search_steps": 2, "agreement_pairs": 1}
    return build_options(FitOptions, fit), build_options(EditOptions, edit)


# Time


def run_imagic(backbone: NetworkBackbone, image: Tensor, fit: FitOptions, edit: EditOptions, clock: Clock) -> None:
    """The stages of an edit, as the method goes through them."""

    def code() -> Generator[Progress, None, tuple[Tensor, Conditioning, Tensor]]:
        z0, texts = backbone.encode(image), backbone.encode_text([TEXT, ""])
        picture = backbone.decode(z0)[0].cpu()
        yield Progress("encode", 1, 1)
        return z0, texts, picture

    z0, texts, picture = clock("encode", code())
    fixed = fixed_pairs(fit.measured_pairs, backbone.levels, z0.shape[1:]).to(z0.device)
    subject = Subject(z0, fixed, seed=0, max_pairs=fit.max_pairs)
    embedding, _ = clock("A", fit_embedding(backbone, subject, texts[:1], fit))
    change, _ = clock("B", fit_network(backbone, subject, embedding, fit))
    noise = None
    if fit.start == "inversion":
        noise = clock("inversion", own_noise(backbone, z0, embedding, change, fit.inversion_steps))
    fitted = Fitted(z0, embedding, texts[:1], texts[1:], change, None, TEXT, start=noise)
    shots, name = [Shot(0.7, 0), Shot(0.0, 0)], "sampling"
    clock(name, render(backbone, fitted, shots, edit, num_steps=edit.num_steps, sampler=edit.sampler, stage=name))
    clock("search", search(backbone, fitted, picture, [0], edit, agreement_with(backbone, fitted, edit)))


def run_community(backbone: NetworkBackbone, image: Tensor, most: int | None, clock: Clock) -> None:
    """Stages A and B of the community's schedule, in at most so many steps each. The network is changed after it."""
    z0, text, generator = backbone.encode(image), backbone.encode_text([TEXT]).trainable(), seeds.generator(0)

    def loop(parameters: Sequence[Tensor], steps: int, rate: float) -> Generator[Progress, None, None]:
        optimizer = torch.optim.Adam(parameters, lr=rate)
        for step in range(min(steps, most or steps)):
            level = backbone.levels[torch.randint(len(backbone.levels), (1,), generator=generator)]
            eps = torch.randn(z0.shape, generator=generator).to(z0.device)
            output = backbone.predict(add_noise(z0, eps, level.alpha, level.sigma), level.timestep, text)
            loss = F.mse_loss(output, training_target(z0, eps, level.alpha, level.sigma, backbone.prediction))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield Progress(COMMUNITY, step + 1, steps, {"loss": loss.item()})

    clock("A", loop(list(text.parameters().values()), *COMMUNITY_A))
    text = text.detach()
    backbone.network.requires_grad_(True)
    clock("B", loop(list(backbone.network.parameters()), *COMMUNITY_B))


def now(device: torch.device) -> float:
    """In seconds, when the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def matrix_peak(device: torch.device, dtype: torch.dtype, squares: Sequence[int]) -> float:
    """The most FLOP per second of any product of two square matrices."""
    best = 0.0
    for side in squares:
        a, b = torch.randn(2, side, side, device=device, dtype=dtype).unbind()
        began = ended = now(device)
        while ended - began < PEAK_SECONDS:
            before = ended
            for _ in range(4):
                a @ b
            ended = now(device)
            best = max(best, 4 * 2 * side**3 / (ended - before))
    return best


def measure(rows: Mapping[str, Row], dtype: torch.dtype, asked: argparse.Namespace, peaks: dict[str, float]) -> None:
    """Runs the stages of one model, preset and tuning, and fills in their rows. peaks: by precision; new ones are
    added."""
    device, first = asked.device, next(iter(rows.values()))
    autocast = default_autocast(device) if asked.autocast == "auto" else DTYPES.get(asked.autocast)
    if first.preset == COMMUNITY:
        dtype, autocast = torch.float32, None
    backbone = build(first.model, device, dtype, autocast=autocast, offload=asked.offload)
    fit, edit = options(first.preset, first.tuning, asked.steps)
    searched = searched_rows(edit, guided_rows(backbone))
    image = torch.rand(1, 3, backbone.image_size, backbone.image_size, generator=seeds.generator(0)) * 2 - 1

    def clock(name: str, work: Generator[Progress, None, Any]) -> Any:
        row, moments = rows[name], []
        reset_peak_memory(device)
        began = now(device)
        while True:
            try:
                next(work)
            except StopIteration as stop:
                result = stop.value
                break
            moments.append(now(device))
        row.seconds, row.memory = now(device) - began, peak_memory(device)
        # What comes before the first step is no part of a step.
        pauses = [after - before for before, after in itertools.pairwise(moments)]
        row.ran, step = len(moments), statistics.median(pauses or [row.seconds])
        if name == "search":
            row.ran = len(result.sweep) * searched
            step = row.seconds / row.ran
        row.whole = row.seconds if row.ran == row.steps else step * row.steps
        multiplies = autocast if autocast is not None and name in ("A", "B") else dtype
        row.dtype = str(multiplies).removeprefix("torch.")
        if row.dtype not in peaks:
            squares = SQUARES_SMOKE if asked.smoke else SQUARES_CPU if device.type == "cpu" else SQUARES
            peaks[row.dtype] = matrix_peak(device, multiplies, squares)
        row.fraction = row.flop / row.steps / step / peaks[row.dtype]
        return result

    if first.preset == COMMUNITY:
        run_community(backbone, image, asked.steps, clock)
    else:
        run_imagic(backbone, image, fit, edit, clock)


# What is asked, and what comes out


def planned(asked: argparse.Namespace) -> Iterator[tuple[dict[str, Row], torch.dtype]]:
    """The stages of each model, tuning and preset with their FLOP, and the precision of the weights."""
    for model in asked.models:
        bones = build(model, torch.device("meta"), torch.float32)
        dtype = DTYPES.get(asked.dtype) or default_dtype(bones.network, asked.device)
        for tuning in MODELS[model]["tunings"]:
            flop, bytes_kept = count(bones, TuningPlan(tuning)), kept(bones, TuningPlan(tuning))
            # The community's loop tunes all weights.
            for preset in [each for each in asked.presets if each != COMMUNITY or tuning == "full"]:
                found = stages(flop, preset, tuning, guided_rows(bones)).items()
                rows = {name: Row(model, preset, tuning, name, steps, steps * each) for name, (steps, each) in found}
                rows["B"].kept = asdict(bytes_kept)
                yield rows, dtype


def table(rows: Sequence[Row]) -> str:
    """As Markdown. A tilde marks an estimate."""
    columns = "model, preset, tuning, stage, in, steps, seconds, of all, MiB, TFLOP, TFLOP/s, of peak"
    lines = []
    for row in rows:
        estimated = "~" if row.ran != row.steps else ""
        lines.append(
            [
                *(row.model, row.preset, row.tuning, row.stage, row.dtype, f"{row.ran}/{row.steps}"),
                significant(row.seconds),
                row.error or ("n/a" if row.whole is None else estimated + significant(row.whole)),
                significant(row.memory["mib"] if row.memory else None),
                significant(row.flop / 1e12),
                significant(row.flop / row.whole / 1e12 if row.whole else None),
                "n/a" if row.fraction is None else f"{100 * row.fraction:.1f} %",
            ]
        )
    return Table(columns.split(", "), lines).markdown()


def kept_table(rows: Sequence[Row]) -> str:
    """As Markdown: the activations of a row that wait for the backward pass of B, in float32."""
    found = {(row.model, row.tuning): row.kept for row in rows if row.kept}
    lines = [
        [model, tuning, *(f"{bytes_kept[how] / 2**30:.2f}" for how in ("whole", "recomputed"))]
        for (model, tuning), bytes_kept in found.items()
    ]
    return Table(["model", "tuning", "GiB kept of a row", "with gradient checkpointing"], lines).markdown()


def main(arguments: Sequence[str] | None = None) -> None:
    """Goes through models, tunings and presets; prints the table and writes the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    presets = [*PRESETS, COMMUNITY]
    parser.add_argument("--models", nargs="+", choices=MODELS, help="default: all but the tiny ones")
    parser.add_argument("--presets", nargs="+", choices=presets, default=presets)
    parser.add_argument("--device", type=torch.device, default=default_device())
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; default: as imagic chooses")
    parser.add_argument("--autocast", choices=("auto", "none", *DTYPES), default="auto", help="in A and B")
    parser.add_argument("--offload", action="store_true", help="encoders and autoencoder wait on the CPU")
    parser.add_argument("--steps", type=int, help="the most steps of a stage; its whole is then an estimate")
    parser.add_argument("--count", action="store_true", help="FLOP and bytes alone")
    parser.add_argument("--smoke", action="store_true", help="tiny models and few steps")
    parser.add_argument("--out", type=Path, help="a JSON file")
    asked = parser.parse_args(arguments)
    asked.models = asked.models or [name for name in MODELS if (name in TINY) == asked.smoke]
    if asked.smoke:
        asked.steps = SMOKE_STEPS
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    facts: dict[str, Any] = {
        "hardware": hardware(asked.device),
        "versions": versions(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "convolutions_in_tf32": torch.backends.cudnn.allow_tf32,
        "matrix_peak_flop_per_second": {},
    }
    for found, dtype in planned(asked):
        rows += found.values()
        if not asked.count:
            try:
                measure(found, dtype, asked, facts["matrix_peak_flop_per_second"])
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                for row in found.values():
                    row.error = "" if row.seconds else "memory ran out"
            gc.collect()
            if asked.device.type == "cuda":
                torch.cuda.empty_cache()
        if asked.out is not None:
            written = {**facts, "rows": [asdict(row) for row in rows]}
            asked.out.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(table(rows), kept_table(rows), sep="\n")


if __name__ == "__main__":
    main()
