"""The table of a run: success with its interval per group and in all, distances, seconds and memory per method."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagic.bench.rows import Row, read_rows
from imagic.bench.wilson import wilson
from imagic.core.errors import OutputError

ALL = "all"


@dataclass(frozen=True)
class Share:
    """Successes of trials, with the 95 % Wilson interval."""

    successes: int
    trials: int

    def __str__(self) -> str:
        if not self.trials:
            return "n/a"
        low, high = wilson(self.successes, self.trials)
        return f"{self.successes / self.trials:.0%} [{low:.0%}, {high:.0%}]"


@dataclass(frozen=True)
class Line:
    """One method on one group. A mean is None where no row has the value.

    rows, failed, unjudged: how many in all, with an error (they count as no success), and with no counting asked fact
    (they are left out of the shares). delivered: success of the result laid over the input, as users get it. best_eta:
    success if the best image of each sweep had been chosen. ceiling: success of the true edit after the image coder.
    """

    label: str
    group: str
    rows: int
    failed: int
    unjudged: int
    success: Share
    asked: Share
    kept: Share
    individual: Share
    delivered: Share
    best_eta: Share
    ceiling: Share
    scores: dict[str, float | None]
    fit_seconds: float | None
    edit_seconds: float | None
    peak_memory_mib: float | None


def load(folder: Path) -> list[Row]:
    """The rows of a run. Raises OutputError when there are none."""
    rows = list(read_rows(folder).values())
    if not rows:
        raise OutputError(f"There are no results in {folder.name}: run the benchmark into this folder first.")
    return rows


def summarise(rows: Sequence[Row]) -> list[Line]:
    """Per method, the line over all groups and then one per group, in the order in which the rows came."""
    lines = []
    for label in dict.fromkeys(row["label"] for row in rows):
        mine = [row for row in rows if row["label"] == label]
        lines.append(_line(label, ALL, mine))
        for group in dict.fromkeys(row["group"] for row in mine):
            lines.append(_line(label, group, [row for row in mine if row["group"] == group]))
    return lines


SCORES = (
    "psnr_truth",
    "ssim_truth",
    "psnr_kept",
    "ssim_kept",
    "psnr_delivered_truth",
    "psnr_delivered_kept",
    "psnr_roundtrip_input",
    "psnr_reconstruction_input",
    "psnr_reconstruction_roundtrip",
)


def measures_of(rows: Iterable[Row]) -> dict[str, str]:
    """The metrics that were asked for beside the runner's own, by name, and the weights that they used."""
    return {name: weights for row in rows for name, weights in row.get("measures", {}).items()}


def _line(label: str, group: str, rows: Sequence[Row]) -> Line:
    good = [row for row in rows if not row["error"]]
    failed = len(rows) - len(good)
    memory = [row["peak_memory"]["mib"] for row in rows]
    return Line(
        label=label,
        group=group,
        rows=len(rows),
        failed=failed,
        unjudged=sum(row["success"] is None for row in good),
        success=_share((row["success"] for row in good), failed),
        asked=_share((row["asked"] for row in good), failed),
        kept=_share((row["kept"] for row in good), failed),
        individual=_share((row["individual"] for row in good), failed),
        delivered=_share((row["delivered"]["success"] for row in good), failed),
        best_eta=_share((_best_of(row) for row in good), failed),
        ceiling=_share((row["ceiling"]["success"] for row in good), 0),
        scores={
            name: _centre(statistics.fmean, (row["scores"].get(name) for row in good))
            for name in (*SCORES, *measures_of(rows))
        },
        fit_seconds=_centre(statistics.median, (row["seconds"]["fit"] for row in good)),
        edit_seconds=_centre(statistics.median, (row["seconds"]["edit"] for row in good)),
        peak_memory_mib=max(memory, default=None),
    )


def _share(outcomes: Iterable[bool | None], failed: int) -> Share:
    known = [outcome for outcome in outcomes if outcome is not None]
    return Share(sum(known), len(known) + failed)


def _best_of(row: Row) -> bool | None:
    outcomes = [row["success"], *(each["success"] for each in row["sweep"])]
    return None if row["success"] is None else any(outcomes)


def _centre(average: Callable[[list[float]], float], values: Iterable[float | str | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return average(known) if known else None


COLUMNS: tuple[tuple[str, Callable[[Line], str]], ...] = (
    ("method", lambda line: line.label),
    ("group", lambda line: line.group),
    ("items", lambda line: str(line.rows)),
    ("errors", lambda line: str(line.failed)),
    ("success", lambda line: str(line.success)),
    ("asked", lambda line: _percent(line.asked)),
    ("kept", lambda line: _percent(line.kept)),
    ("individual", lambda line: _percent(line.individual)),
    ("delivered", lambda line: _percent(line.delivered)),
    ("best eta", lambda line: _percent(line.best_eta)),
    ("ceiling", lambda line: _percent(line.ceiling)),
    ("PSNR truth", lambda line: _number(line.scores["psnr_truth"], 1)),
    ("SSIM truth", lambda line: _number(line.scores["ssim_truth"], 3)),
    ("PSNR kept", lambda line: _number(line.scores["psnr_kept"], 1)),
    ("SSIM kept", lambda line: _number(line.scores["ssim_kept"], 3)),
    ("PSNR kept delivered", lambda line: _number(line.scores["psnr_delivered_kept"], 1)),
    ("PSNR coder", lambda line: _number(line.scores["psnr_roundtrip_input"], 1)),
    ("PSNR own", lambda line: _number(line.scores["psnr_reconstruction_input"], 1)),
    ("PSNR own to coder", lambda line: _number(line.scores["psnr_reconstruction_roundtrip"], 1)),
    ("fit s", lambda line: _number(line.fit_seconds, 1)),
    ("edit s", lambda line: _number(line.edit_seconds, 1)),
    ("memory MiB", lambda line: _number(line.peak_memory_mib, 0)),
)

LEGEND = """\
Success: every asked fact reads as in the true edit, every other fact too, and it is the same individual, as judged;
95 % Wilson interval. Errors count as no success. Delivered: success of what users get, the result's difference to the
method's own rendering of the input, laid over the input. Best eta: success if the best image of each sweep had been
chosen. Ceiling: success of the true edit after the model's image coder. PSNR (dB) and SSIM are means: to the true edit
(truth); to the input outside the mask (kept); of the input after the coder to the input (coder); of the method's own
rendering of the input (Imagic: at eta 0) to the input (own) and to the input after the coder (own to coder). Seconds
are medians, memory is the maximum."""


def _percent(share: Share) -> str:
    return f"{share.successes / share.trials:.0%}" if share.trials else "n/a"


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _significant(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def markdown(rows: Sequence[Row]) -> str:
    """The table, what it was measured on, its legend, and the errors, as Markdown."""
    lines = summarise(rows)
    measures = measures_of(rows)
    cells = [[*(name for name, _ in COLUMNS), *measures], ["---"] * (len(COLUMNS) + len(measures))]
    for line in lines:
        cells.append([*(show(line) for _, show in COLUMNS), *(_significant(line.scores[name]) for name in measures)])
    parts = ["\n".join("| " + " | ".join(row) + " |" for row in cells), LEGEND, _conditions(rows)]
    if missing := _missing(rows, measures):
        parts.append("Not available:\n" + "\n".join(missing))
    if unjudged := sum(line.unjudged for line in lines if line.group == ALL):
        parts.append(f"{unjudged} rows could not be judged: the judge misreads what they ask for on the true edit.")
    if errors := [f"- {row['label']} on {row['item']}: {row['error']}" for row in rows if row["error"]]:
        parts.append("Errors:\n" + "\n".join(errors))
    return "\n\n".join(parts) + "\n"


def _missing(rows: Sequence[Row], measures: Iterable[str]) -> list[str]:
    """Per metric that was asked for and reason, how many rows have no value for it; the means leave them out."""
    counts = Counter(
        (name, row["not_available"][name])
        for row in rows
        if not row["error"]
        for name in measures
        if name in row["not_available"]
    )
    return [f"- {name}, {count} rows: {reason}" for (name, reason), count in counts.items()]


def _conditions(rows: Sequence[Row]) -> str:
    """Suite, model, seed, hardware, versions and the kind of memory: each value that occurs."""
    facts: dict[str, Iterable[str]] = {
        "suite": (row["suite"] for row in rows),
        "model": (f"{row['model']['name']} ({row['model']['fingerprint'][:12]})" for row in rows),
        "seed": (str(row["seed"]) for row in rows),
        "hardware": (row["hardware"] for row in rows),
        "versions": (", ".join(f"{name} {version}" for name, version in row["versions"].items()) for row in rows),
        "memory": (row["peak_memory"]["of"] for row in rows),
        "weights of metrics": (f"{name} {weights}" for name, weights in measures_of(rows).items() if weights),
    }
    listed = {name: "; ".join(dict.fromkeys(values)) for name, values in facts.items()}
    return "\n".join(f"- {name}: {values}" for name, values in listed.items() if values)
