"""Run methods over a suite and write one row per (item, method), as it is made.

A rerun into the same folder makes only the rows that are missing. An item that fails becomes a row with its error, and
the run goes on. Method and judge never meet: the judge sees finished pictures.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from imagic.bench import machine, rows, strips
from imagic.bench.measures import Measure
from imagic.bench.scores import Context, score
from imagic.bench.types import Entry, Item, Judge, Suite
from imagic.core.errors import ImagicError, OptionError, OutputError
from imagic.core.options import build_options
from imagic.core.registry import check_abilities
from imagic.core.types import Backbone, FitRequest, Progress

FORMAT = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1: every count-th item. Shards write their own files and may run side by side."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise OptionError(f"Shard {self.index}/{self.count} does not exist: use 1/{self.count} up to {self.count}.")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "i/n", i from 1 to n. Raises OptionError for anything else."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(count)):
            raise OptionError(f"A shard is written i/n, such as 1/4, not '{text}'.")
        return cls(int(index), int(count))


@dataclass(frozen=True)
class Summary:
    """Rows of this run: written (failed ones among them), and skipped because they were there already."""

    written: int
    failed: int
    skipped: int


@dataclass(frozen=True)
class _Trial:
    """An entry with its options checked."""

    entry: Entry
    fit_options: Any
    edit_options: Any

    def described(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "preset": entry.preset,
            "with_source_text": entry.sees_source_text,
            "fit": rows.plain(dataclasses.asdict(self.fit_options)),
            "edit": rows.plain(dataclasses.asdict(self.edit_options)),
        }


def run(
    out: Path,
    suite: Suite,
    entries: Sequence[Entry],
    backbone: Backbone,
    *,
    seed: int = 0,
    shard: Shard = Shard(),
    retry_failed: bool = False,
    measures: Sequence[Measure] = (),
) -> Generator[Progress, None, Summary]:
    """Every entry on every item of this shard, rows and pictures under `out`.

    The same seed serves every item and entry. Progress counts rows; its stage names what is running. Rows with an error
    count as done unless `retry_failed`. measures: metrics of each result beside the runner's own distances.

    Before any work, raises OptionError for wrong options, AbilityError for a model that cannot serve a method, and
    OutputError when `out` holds rows made with another suite, model, seed, metrics, or with other options of a named
    method; the suite raises what it needs to load its judge.
    """
    trials = [_checked(entry, backbone) for entry in entries]
    if len({entry.label for entry in entries}) < len(entries):
        raise OptionError("Each method must be named once.")
    items = suite.items()[shard.index - 1 :: shard.count]
    present = rows.read_rows(out)
    texts = {item.name: item.target_text for item in items}
    for row in present.values():
        _refuse_mixture(row, trials, suite, texts, backbone, seed, measures)
    path = out / ("rows.jsonl" if shard.count == 1 else f"rows-{shard.index}-of-{shard.count}.jsonl")
    out.mkdir(parents=True, exist_ok=True)
    rows.repair(path)

    done = {key for key, row in present.items() if not (row["error"] and retry_failed)}
    missing = {
        item.name: [trial for trial in trials if (item.name, trial.entry.label, seed) not in done] for item in items
    }
    total, written, failed = len(items) * len(trials), 0, 0
    skipped = total - sum(map(len, missing.values()))
    if skipped == total:
        return Summary(0, 0, skipped)
    judge = suite.judge()
    for item in items:
        context: Context | None = None
        for trial in missing[item.name]:
            step = skipped + written
            row = _frame(item, suite, trial, backbone, seed, measures)
            machine.reset_peak_memory(backbone.device)
            try:
                context = context or _prepare(item, backbone, judge)
                row |= yield from _attempt(context, trial, backbone, judge, seed, measures, step, total)
                row["picture"] = strips.save(out, item.name, trial.entry.label, context, row.pop("image"))
            except ImagicError as error:
                row |= {"error": str(error)}
            except Exception as error:  # a bug in one item must not cost the night's run; the row keeps its traceback
                row |= {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            row["peak_memory"] = machine.peak_memory(backbone.device)
            rows.append(path, row)
            written += 1
            failed += row["error"] is not None
            yield Progress(f"{trial.entry.label} on {item.name}", skipped + written, total, _news(row))
    return Summary(written, failed, skipped)


def _checked(entry: Entry, backbone: Backbone) -> _Trial:
    method = entry.method
    check_abilities(method, backbone)
    if entry.preset and entry.preset not in method.presets:
        known = ", ".join(method.presets) or "none"
        raise OptionError(f"'{method.name}' has no preset '{entry.preset}'; known: {known}.")
    preset = method.presets[entry.preset] if entry.preset else {}
    fit_options: Any = build_options(method.FitOptions, {**preset, **entry.fit})
    edit_options: Any = build_options(method.EditOptions, entry.edit)
    return _Trial(entry, fit_options, edit_options)


def _frame(
    item: Item, suite: Suite, trial: _Trial, backbone: Backbone, seed: int, measures: Sequence[Measure]
) -> rows.Row:
    """What identifies a row and says how it was made, known before the work."""
    return {
        "format": FORMAT,
        "suite": suite.name,
        "item": item.name,
        "group": item.group,
        "target_text": item.target_text,
        "source_text": item.source_text,
        "label": trial.entry.label,
        "method": trial.entry.method.name,
        "seed": seed,
        "options": trial.described(),
        "measures": _described(measures),
        "model": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "versions": machine.versions(),
        "hardware": machine.hardware(backbone.device),
        "threads": torch.get_num_threads(),
        "error": None,
    }


def _refuse_mixture(
    row: rows.Row,
    trials: Sequence[_Trial],
    suite: Suite,
    texts: Mapping[str, str],
    backbone: Backbone,
    seed: int,
    measures: Sequence[Measure],
) -> None:
    """One folder holds one suite, one model, one seed, one set of metrics, and each label with one set of options."""
    same = row["suite"] == suite.name and row["model"]["fingerprint"] == backbone.fingerprint and row["seed"] == seed
    same = same and row["target_text"] == texts.get(row["item"], row["target_text"])
    same = same and row.get("measures", {}) == _described(measures)
    for trial in trials:
        if row["label"] == trial.entry.label:
            same = same and row["options"] == trial.described()
    if not same:
        raise OutputError(
            f"The folder holds rows of '{row['label']}' made with another suite, model, seed, metrics or other options:"
            " choose an empty folder."
        )


def _described(measures: Sequence[Measure]) -> dict[str, str]:
    """What was measured with which weights."""
    return {measure.label: measure.weights for measure in measures}


def _prepare(item: Item, backbone: Backbone, judge: Judge) -> Context:
    """Render an item and put its input, and as the ceiling of any method its truth, through the model's image coder."""
    pictures = item.render(backbone.image_size, backbone.device)
    with torch.no_grad():
        roundtrip, truth_roundtrip = backbone.decode(backbone.encode(torch.stack([pictures.source, pictures.truth])))
    return Context.of(item, pictures, roundtrip, truth_roundtrip, judge)


def _attempt(
    context: Context,
    trial: _Trial,
    backbone: Backbone,
    judge: Judge,
    seed: int,
    measures: Sequence[Measure],
    step: int,
    total: int,
) -> Generator[Progress, None, rows.Row]:
    """Fit, edit and score one item: the rest of its row, and the result under "image"."""
    item, entry = context.item, trial.entry
    source_text = item.source_text if entry.sees_source_text else ""
    request = FitRequest(context.pictures.source.unsqueeze(0), item.target_text, source_text, seed=seed)
    stage = f"{entry.label} on {item.name}"
    fitting = entry.method.fit(backbone, request, trial.fit_options)
    state, fit_seconds = yield from _timed(fitting, stage, step, total, backbone.device)
    editing = entry.method.edit(backbone, state, trial.edit_options, [seed])
    result, edit_seconds = yield from _timed(editing, stage, step, total, backbone.device)
    return {
        "seconds": {"fit": fit_seconds, "edit": edit_seconds},
        **score(context, result, judge, measures),
    }


def _timed(
    work: Generator[Progress, None, T], stage: str, step: int, total: int, device: torch.device
) -> Generator[Progress, None, tuple[T, float]]:
    """Pass a computation's progress on, and return its result and the seconds spent inside it."""
    seconds = 0.0
    with closing(work):  # so that an abandoned run restores the weights now
        while True:
            start = time.perf_counter()
            try:
                progress = next(work)
            except StopIteration as finished:
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                return finished.value, round(seconds + time.perf_counter() - start, 3)
            seconds += time.perf_counter() - start
            yield Progress(f"{stage}: {progress.stage} {progress.step}/{progress.total}", step, total)


def _news(row: rows.Row) -> dict[str, float]:
    return {name: float(row[name]) for name in ("success", "eta") if row.get(name) is not None}
