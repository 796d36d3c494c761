"""The table of a run: success with its interval per group and in all, distances, seconds and memory per method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from imagic.bench.lines import ALL, Line, Share, measures_of, summarise
from imagic.bench.rows import Row, read_rows
from imagic.bench.tables import Table, number, significant
from imagic.core.errors import OutputError


def load(folder: Path) -> list[Row]:
    """The rows of a run. Raises OutputError when there are none."""
    rows = list(read_rows(folder).values())
    if not rows:
        raise OutputError(f"There are no results in {folder.name}: run the benchmark into this folder first.")
    return rows


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
    ("PSNR truth", lambda line: number(line.scores["psnr_truth"], 1)),
    ("SSIM truth", lambda line: number(line.scores["ssim_truth"], 3)),
    ("PSNR kept", lambda line: number(line.scores["psnr_kept"], 1)),
    ("SSIM kept", lambda line: number(line.scores["ssim_kept"], 3)),
    ("PSNR kept delivered", lambda line: number(line.scores["psnr_delivered_kept"], 1)),
    ("PSNR coder", lambda line: number(line.scores["psnr_roundtrip_input"], 1)),
    ("PSNR own", lambda line: number(line.scores["psnr_reconstruction_input"], 1)),
    ("PSNR own to coder", lambda line: number(line.scores["psnr_reconstruction_roundtrip"], 1)),
    ("fit s", lambda line: number(line.fit_seconds, 1)),
    ("edit s", lambda line: number(line.edit_seconds, 1)),
    ("memory MiB", lambda line: number(line.peak_memory_mib, 0)),
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


# The means of a method that get an interval: the row's name, the column's, and the digits that are shown.
MEANS = (
    ("psnr_truth", "PSNR truth", 1),
    ("ssim_truth", "SSIM truth", 3),
    ("psnr_input", "PSNR input", 1),
    ("psnr_kept", "PSNR kept", 1),
    ("ssim_kept", "SSIM kept", 3),
    ("psnr_delivered_kept", "PSNR kept delivered", 1),
)


def full_table(rows: Sequence[Row], lines: Sequence[Line]) -> Table:
    """Every line with every column."""
    measures = measures_of(rows)
    body = [
        [*(show(line) for _, show in COLUMNS), *(significant(line.scores.get(name)) for name in measures)]
        for line in lines
    ]
    return Table([*(name for name, _ in COLUMNS), *measures], body, note=LEGEND)


def means_table(rows: Sequence[Row], lines: Sequence[Line]) -> Table:
    """Per arm, over all groups: success, and the means with their intervals, those without any value left out."""
    whole = [line for line in lines if line.group == ALL]
    asked: list[tuple[str, str, int | None]] = [*MEANS, *((name, name, None) for name in measures_of(rows))]
    shown = [each for each in asked if any(line.scores.get(each[0]) is not None for line in whole)]
    header = ["method", "items", "success", *(title for _, title, _ in shown), "fit + edit s", "memory MiB"]
    body = [
        [
            line.label,
            str(line.rows),
            str(line.success),
            *(_mean(line, name, digits) for name, _, digits in shown),
            number(_seconds(line), 1),
            number(line.peak_memory_mib, 0),
        ]
        for line in whole
    ]
    note = "In brackets are 95 % intervals: Wilson's for shares, by the bootstrap over items for means."
    return Table(header, body, "Means and their intervals", note)


def _mean(line: Line, name: str, digits: int | None) -> str:
    value, interval = line.scores.get(name), line.intervals.get(name)
    values = [value, *(interval or ())]
    mean, *bounds = [significant(each) if digits is None else number(each, digits) for each in values]
    return f"{mean} [{', '.join(bounds)}]" if bounds else mean


def _seconds(line: Line) -> float | None:
    return None if line.fit_seconds is None or line.edit_seconds is None else line.fit_seconds + line.edit_seconds


def markdown(rows: Sequence[Row], more: Sequence[Table] = ()) -> str:
    """The table, what it was measured on, its legend, the means with intervals, further tables, and the errors."""
    lines = summarise(rows)
    conditions = "\n".join(f"- {name}: {values}" for name, values in conditions_of(rows).items())
    parts = [full_table(rows, lines).markdown(), conditions]
    for title, remarks in remarks_of(rows).items():
        parts.append("\n".join([f"{title}:", *(f"- {remark}" for remark in remarks)]))
    parts += [table.markdown() for table in (means_table(rows, lines), *more)]
    return "\n\n".join(parts) + "\n"


def remarks_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What the tables leave out, under its heading: missing metrics, rows that could not be judged, errors."""
    unjudged = sum(not row["error"] and row["success"] is None for row in rows)
    said = (
        f"{unjudged} rows could not be judged: the judge misreads what they ask for on the true edit, or there is none."
    )
    remarks = {
        "Not available": _missing(rows),
        "Not judged": [said] if unjudged else [],
        "Errors": [f"{row['label']} on {row['item']}: {row['error']}" for row in rows if row["error"]],
    }
    return {title: each for title, each in remarks.items() if each}


def _missing(rows: Sequence[Row]) -> list[str]:
    """Per metric that was asked for and reason, how many rows have no value for it; the means leave them out."""
    measures = measures_of(rows)
    counts = Counter(
        (name, row["not_available"][name])
        for row in rows
        if not row["error"]
        for name in measures
        if name in row["not_available"]
    )
    return [f"{name}, {count} rows: {reason}" for (name, reason), count in counts.items()]


def conditions_of(rows: Sequence[Row]) -> dict[str, str]:
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
    return {name: values for name, values in listed.items() if values}
