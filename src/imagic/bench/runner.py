"""Run methods over a suite and write one row per (item, method, strength of a sweep), as it is made.

A rerun into the same folder makes only the rows that are missing. An item that fails becomes a row with its error, and
the run goes on. Method and judge never meet: the judge sees finished pictures.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from imagic.bench import machine, rows, strips
from imagic.bench.measures import Measure
from imagic.bench.scores import Context, score
from imagic.bench.trials import Trial, trials_of
from imagic.bench.types import Entry, Item, Suite
from imagic.core.errors import ImagicError, OptionError, OutputError
from imagic.core.types import Backbone, FitRequest, Progress, State

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
class _Fitted:
    """What the edits of an entry on an item share."""

    entry: Entry
    state: State
    seconds: float


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
    sweep: Sequence[float] = (),
) -> Generator[Progress, None, Summary]:
    """Every entry on every item of this shard, rows and pictures under `out`.

    The same seed serves every item and entry. Progress counts rows; its stage names what is running. Rows with an error
    count as done unless `retry_failed`. measures: metrics of each result beside the runner's own distances. sweep:
    strengths, each a row of its own from one fit; a method without a strength has one row all the same.

    Before any work, raises OptionError for wrong options, AbilityError for a model that cannot serve a method, and
    OutputError when `out` holds rows made with another suite, model, seed, metrics, or with other options of a named
    method; the suite raises what it needs to load its judge.
    """
    trials = [trial for entry in entries for trial in trials_of(entry, backbone, sweep)]
    if len({entry.label for entry in entries}) < len(entries):
        raise OptionError("Each method must be named once.")
    items = suite.items()[shard.index - 1 :: shard.count]
    present = rows.read_rows(out)
    texts = {item.name: item.target_text for item in items}
    _refuse_mixture(present.values(), trials, suite, texts, backbone, seed, measures)
    path = out / ("rows.jsonl" if shard.count == 1 else f"rows-{shard.index}-of-{shard.count}.jsonl")
    out.mkdir(parents=True, exist_ok=True)
    rows.repair(path)

    done = {key for key, row in present.items() if not (row["error"] and retry_failed)}
    missing = {
        item.name: [trial for trial in trials if (item.name, trial.entry.label, seed, trial.strength) not in done]
        for item in items
    }
    total, written, failed = len(items) * len(trials), 0, 0
    skipped = total - sum(map(len, missing.values()))
    if skipped == total:
        return Summary(0, 0, skipped)
    judge = suite.judge()
    for item in items:
        context: Context | None = None
        fitted: _Fitted | None = None
        for trial in missing[item.name]:
            step = skipped + written
            row = _frame(item, suite, trial, backbone, seed, measures)
            machine.reset_peak_memory(backbone.device)
            try:
                context = context or Context.of(item, item.render(backbone), backbone, judge)
                if fitted is None or fitted.entry is not trial.entry:
                    fitted = None  # so that a failed fit leaves none behind, and two are never held at once
                    fitted = yield from _fit(context, trial, backbone, seed, step, total)
                editing = trial.entry.method.edit(backbone, fitted.state, trial.edit_options, [seed])
                result, seconds = yield from _timed(editing, _stage(trial, item), step, total, backbone.device)
                row |= {"seconds": {"fit": fitted.seconds, "edit": seconds}, **score(context, result, judge, measures)}
                image = row.pop("image")
                row["picture"] = strips.save(out, item.name, trial.entry.label, context, image, trial.strength)
            except ImagicError as error:
                row |= {"error": str(error)}
            except Exception as error:  # a bug in one item must not cost the night's run; the row keeps its traceback
                row |= {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
            row["peak_memory"] = machine.peak_memory(backbone.device)
            rows.append(path, row)
            written += 1
            failed += row["error"] is not None
            yield Progress(_stage(trial, item), skipped + written, total, _news(row))
    return Summary(written, failed, skipped)


def _frame(
    item: Item, suite: Suite, trial: Trial, backbone: Backbone, seed: int, measures: Sequence[Measure]
) -> rows.Row:
    """What identifies a row and says how it was made, known before the work."""
    return {
        "format": FORMAT,
        "suite": suite.name,
        "item": item.name,
        "group": item.group,
        "target_text": item.target_text,
        "source_text": item.source_text,
        "instruction": item.instruction,
        "label": trial.entry.label,
        "method": trial.entry.method.name,
        "strength": trial.strength,
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
    present: Iterable[rows.Row],
    trials: Sequence[Trial],
    suite: Suite,
    texts: Mapping[str, str],
    backbone: Backbone,
    seed: int,
    measures: Sequence[Measure],
) -> None:
    """One folder holds one suite, one model, one seed, one set of metrics, and each label with one set of options."""
    labels = {trial.entry.label: trial for trial in trials}
    options: dict[tuple[str, float | None], dict[str, Any]] = {}
    for row in present:
        same = row["suite"] == suite.name and row["seed"] == seed
        same = same and row["model"]["fingerprint"] == backbone.fingerprint
        same = same and row["target_text"] == texts.get(row["item"], row["target_text"])
        same = same and row.get("measures", {}) == _described(measures)
        if same and (label := row["label"]) in labels:
            strength = row.get("strength")
            if (label, strength) not in options:
                options[label, strength] = labels[label].at(strength).described()
            same = row["options"] == options[label, strength]
        if not same:
            raise OutputError(
                f"The folder holds rows of '{row['label']}' made with another suite, model, seed, metrics or other"
                " options: choose an empty folder."
            )


def _described(measures: Sequence[Measure]) -> dict[str, str]:
    """What was measured with which weights."""
    return {measure.label: measure.weights for measure in measures}


def _fit(
    context: Context, trial: Trial, backbone: Backbone, seed: int, step: int, total: int
) -> Generator[Progress, None, _Fitted]:
    item, entry = context.item, trial.entry
    request = FitRequest(
        context.pictures.source.unsqueeze(0),
        item.target_text,
        item.source_text if entry.sees_source_text else "",
        item.instruction if "instruction" in entry.method.texts else "",
        seed=seed,
    )
    fitting = entry.method.fit(backbone, request, trial.fit_options)
    state, seconds = yield from _timed(fitting, _stage(trial, item), step, total, backbone.device)
    return _Fitted(entry, state, seconds)


def _stage(trial: Trial, item: Item) -> str:
    strength = "" if trial.strength is None else f" at {trial.strength:g}"
    return f"{trial.entry.label}{strength} on {item.name}"


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
