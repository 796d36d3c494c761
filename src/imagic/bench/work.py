"""The work of a benchmark: one method at one strength on one item, judged; the methods never meet the judge.

What the trials of an item share, and the fit that some of them share, is kept for the tasks that follow.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from imagic.batch.types import Row, Task, Tell
from imagic.batch.work import recording
from imagic.bench import machine, strips
from imagic.bench.measures import Measure
from imagic.bench.scores import Context, score
from imagic.bench.trials import Trial
from imagic.bench.types import Item, Judge, Suite
from imagic.core.registry import check_abilities
from imagic.core.types import Backbone, FitRequest, Progress, State

T = TypeVar("T")
FORMAT = 1


@dataclass(frozen=True)
class Fitted:
    """What edits on an item share whose trials fit alike."""

    item: Item
    trial: Trial
    state: State
    seconds: float


class Trials:
    """Makes the rows of a run, and their pictures under `out`. trials: all of the run.

    Raises AbilityError for a model that cannot serve a method.
    """

    def __init__(
        self,
        out: Path,
        suite: Suite,
        trials: Sequence[Trial],
        backbone: Backbone,
        seed: int,
        measures: Sequence[Measure],
    ) -> None:
        for trial in trials:
            check_abilities(trial.entry.method, backbone)
        self._out, self._suite, self._backbone, self._seed, self._measures = out, suite, backbone, seed, measures
        self._trials = {(trial.entry.label, trial.strength): trial for trial in trials}
        self._items = {item.name: item for item in suite.items()}
        self._context: Context | None = None
        self._fitted: Fitted | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What rows say of model, machine and metrics."""
        return {
            "measures": described(self._measures),
            "model": {"name": self._backbone.name, "fingerprint": self._backbone.fingerprint},
            "versions": machine.versions(),
            "hardware": machine.hardware(self._backbone.device),
            "threads": torch.get_num_threads(),
        }

    @cached_property
    def _judge(self) -> Judge | None:
        return self._suite.judge()

    def do(self, task: Task, tell: Tell) -> Row:
        """The row of a trial on an item. values: item, label, strength. Raises what the suite needs for its judge."""
        item = self._items[task.values["item"]]
        trial = self._trials[task.values["label"], task.values["strength"]]
        device = self._backbone.device
        judge = self._judge  # outside of the record: without it no row can be made
        row = frame(item, self._suite, trial, self._seed, self.facts)
        machine.reset_peak_memory(device)
        with recording(row):
            context = self._context_of(item, judge)
            fitted = self._fit(context, trial, tell)
            editing = trial.entry.method.edit(self._backbone, fitted.state, trial.edit_options, [self._seed])
            result, seconds = timed(editing, tell, device)
            measured = score(context, result, judge, self._measures)
            image = measured.pop("image")
            row |= {"seconds": {"fit": fitted.seconds, "edit": seconds}, **measured}
            row["picture"] = strips.save(self._out, item.name, trial.entry.label, context, image, trial.strength)
        row["peak_memory"] = machine.peak_memory(device)
        return row

    def _context_of(self, item: Item, judge: Judge | None) -> Context:
        if self._context is None or self._context.item is not item:
            self._context = None
            self._context = Context.of(item, item.render(self._backbone), self._backbone, judge)
        return self._context

    def _fit(self, context: Context, trial: Trial, tell: Tell) -> Fitted:
        item, entry, last = context.item, trial.entry, self._fitted
        if last is not None and last.item is item and last.trial.fits_like(trial):
            return last
        last = self._fitted = None  # so that a failed fit leaves none behind, and two are never held at once
        request = FitRequest(
            context.pictures.source.unsqueeze(0),
            item.target_text,
            item.source_text if entry.sees_source_text else "",
            item.instruction if "instruction" in entry.method.texts else "",
            seed=self._seed,
        )
        fitting = entry.method.fit(self._backbone, request, trial.fit_options)
        state, seconds = timed(fitting, tell, self._backbone.device)
        self._fitted = Fitted(item, trial, state, seconds)
        return self._fitted


def frame(item: Item, suite: Suite, trial: Trial, seed: int, facts: Mapping[str, Any]) -> Row:
    """What identifies a row and says how it was made, known before the work. facts: as Trials has them."""
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
        **facts,
        "error": None,
    }


def described(measures: Sequence[Measure]) -> dict[str, str]:
    """What was measured with which weights."""
    return {measure.label: measure.weights for measure in measures}


def timed(work: Generator[Progress, None, T], tell: Tell, device: torch.device) -> tuple[T, float]:
    """Pass a computation's progress on; its result and the seconds spent inside it."""
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
            tell(progress)
