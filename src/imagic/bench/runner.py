"""Run methods over a suite and write one row per (item, method, strength of a sweep), as it is made.

A rerun into the same folder makes only the rows that are missing. An item that fails becomes a row with its error, and
the run goes on. Who does the work, this process or others, is the crew's business (imagic.batch).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagic.batch import engine
from imagic.batch.inline import Inline
from imagic.batch.shards import ALL, Shard
from imagic.batch.types import Crew, Row, Summary, Task, Tell
from imagic.bench import rows
from imagic.bench.measures import Measure
from imagic.bench.trials import Trial, trials_of
from imagic.bench.types import Entry, Item, Suite
from imagic.bench.work import Trials, frame
from imagic.core.errors import OutputError
from imagic.core.types import Backbone, Progress

__all__ = ["Shard", "Summary", "run", "run_with"]


def run(
    out: Path,
    suite: Suite,
    entries: Sequence[Entry],
    backbone: Backbone,
    *,
    seed: int = 0,
    shard: Shard = ALL,
    retry_failed: bool = False,
    measures: Sequence[Measure] = (),
    sweep: Sequence[float] = (),
    on_step: Tell | None = None,
) -> Generator[Progress, None, Summary]:
    """Every entry on every item of this shard, rows and pictures under `out`.

    The same seed serves every item and entry. Progress counts rows; its stage names what is running, and on_step hears
    of the steps within. Rows with an error count as done unless `retry_failed`. measures: metrics of each result beside
    the runner's own distances. sweep: strengths, each a row of its own from one fit; a method without a strength has
    one row all the same.

    Before any work, raises OptionError for wrong options, AbilityError for a model that cannot serve a method, and
    OutputError when `out` holds rows made with another suite, model, seed, metrics, or with other options of a named
    method; the suite raises what it needs to load its judge.
    """
    trials = trials_of(entries, sweep)
    work = Trials(out, suite, trials, backbone, seed, measures)
    crew = Inline(lambda: work)
    return (
        yield from run_with(
            crew, out, suite, trials, seed=seed, shard=shard, retry_failed=retry_failed, on_step=on_step
        )
    )


def run_with(
    crew: Crew,
    out: Path,
    suite: Suite,
    trials: Sequence[Trial],
    *,
    seed: int = 0,
    shard: Shard = ALL,
    retry_failed: bool = False,
    on_step: Tell | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Generator[Progress, None, Summary]:
    """The same by any crew whose work is `Trials` with the same suite, trials and seed. say: hears of workers that
    died; what they had in hand is done again. Raises also what the crew raises."""
    items = shard.of(suite.items())
    present = rows.read_rows(out)
    with crew:
        facts = yield from engine.opened(crew)
        texts = {item.name: item.target_text for item in items}
        _refuse_mixture(present.values(), trials, suite, texts, seed, facts)
        path = out / shard.file_name("rows")
        out.mkdir(parents=True, exist_ok=True)
        rows.repair(path)

        done = {key for key, row in present.items() if not (row["error"] and retry_failed)}
        named = {
            (item.name, trial.entry.label, seed, trial.strength): (item, trial) for item in items for trial in trials
        }
        tasks = [_task(*pair) for key, pair in named.items() if key not in done]

        def keep(task: Task, row: Row) -> Mapping[str, float]:
            rows.append(path, row)
            return {name: float(row[name]) for name in ("success", "eta") if row.get(name) is not None}

        def lost(task: Task, how: str) -> Row:
            item, trial = named[task.values["item"], task.values["label"], seed, task.values["strength"]]
            return frame(item, suite, trial, seed, facts) | {"error": how}

        skipped = len(named) - len(tasks)
        return (yield from engine.run(tasks, crew, keep, lost, skipped=skipped, on_step=on_step, say=say))


def _task(item: Item, trial: Trial) -> Task:
    """One worker makes all strengths of a method on an item, since it has the fit."""
    label = trial.entry.label
    strength = "" if trial.strength is None else f" at {trial.strength:g}"
    values = {"item": item.name, "label": label, "strength": trial.strength}
    return Task(f"{label}{strength} on {item.name}", f"{label} on {item.name}", values)


def _refuse_mixture(
    present: Iterable[Row],
    trials: Sequence[Trial],
    suite: Suite,
    texts: Mapping[str, str],
    seed: int,
    facts: Mapping[str, Any],
) -> None:
    """One folder holds one suite, one model, one seed, one set of metrics, and each label with one set of options."""
    labels = {trial.entry.label: trial for trial in trials}
    options: dict[tuple[str, float | None], dict[str, Any]] = {}
    for row in present:
        same = row["suite"] == suite.name and row["seed"] == seed
        same = same and row["model"]["fingerprint"] == facts["model"]["fingerprint"]
        same = same and row["target_text"] == texts.get(row["item"], row["target_text"])
        same = same and row.get("measures", {}) == facts["measures"]
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
