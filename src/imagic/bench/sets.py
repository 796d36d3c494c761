"""Metrics over sets of images: the results of a method against the true edits of the same items.

They are computed from the pictures of a finished run, so that a resumed or sharded run gives the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from imagic.bench import strips
from imagic.bench.rows import Row
from imagic.core import registry
from imagic.core.errors import NotAvailable, OptionError
from imagic.core.registry import Group
from imagic.core.types import Extractor, Features, SetMetric
from imagic.metrics.extractors import extract
from imagic.metrics.weights import build


@dataclass(frozen=True)
class SetScore:
    """One metric of one method. measure: as asked, "fid:clip". weights: the extractor's, and their hash. images: in
    each of the two sets. value: None where there is none, and then `reason` says why."""

    label: str
    measure: str
    weights: str
    images: int
    value: float | None
    reason: str = ""


def score_sets(
    folder: Path,
    rows: Sequence[Row],
    measures: Sequence[str],
    paths: Mapping[str, Path],
    device: torch.device | str = "cpu",
) -> list[SetScore]:
    """Every set metric of `measures` ("metric:extractor") for every method with a result in the run in `folder`.

    Classes, where a metric needs them, are the groups of the items. paths: of weights, by name. Raises OptionError for
    a wrong name, NotAvailable for missing weights, OutputError for a missing picture.
    """
    parsed = {measure: _parsed(measure) for measure in measures}
    loaded = {name: build(registry.find(Group.EXTRACTORS, name), paths) for _, name in parsed.values()}
    good = [row for row in rows if not row["error"]]
    scores = []
    for name, (extractor, weights) in loaded.items():
        source = {row["item"]: row for row in good}  # of several methods' rows any one: they share the true edit
        truths = _panels(folder, list(source.values()), "truth", extractor, device)
        for label in dict.fromkeys(row["label"] for row in good):
            mine = [row for row in good if row["label"] == label]
            groups = [row["group"] for row in mine]
            results = _panels(folder, mine, "result", extractor, device)
            pair = [Features(torch.stack(list(each.values())), groups) for each in (results, _only(truths, results))]
            for measure, (metric, its_extractor) in parsed.items():
                if its_extractor == name:
                    scores.append(SetScore(label, measure, weights, len(mine), *_value(metric, *pair)))
    return scores


def _parsed(measure: str) -> tuple[SetMetric, str]:
    """The metric, and the name of its extractor."""
    name, _, extractor = measure.partition(":")
    if not (name and extractor):
        raise OptionError(f"A metric over sets is written metric:extractor, such as fid:clip, not '{measure}'.")
    metric: SetMetric = registry.find(Group.SET_METRICS, name)()
    return metric, extractor


def _panels(
    folder: Path, rows: Sequence[Row], panel: str, extractor: Extractor, device: torch.device | str
) -> dict[str, Tensor]:
    """The features (D,) of one panel of each row's strip, by item."""
    if not rows:
        return {}
    images = (strips.panel(folder, row["picture"], panel).to(device) for row in rows)
    return dict(zip((row["item"] for row in rows), extract(extractor, images), strict=True))


def _only(features: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {item: features[item] for item in items}


def _value(metric: SetMetric, images: Features, references: Features) -> tuple[float | None, str]:
    try:
        return metric(images, references), ""
    except NotAvailable as reason:
        return None, str(reason)


def markdown(scores: Sequence[SetScore]) -> str:
    """The scores as a Markdown table with a line per method, the weights, and the reasons for what is missing."""
    measures = list(dict.fromkeys(score.measure for score in scores))
    found = {(score.label, score.measure): score for score in scores}
    lines = [["method", "images", *measures], ["---"] * (2 + len(measures))]
    for label in dict.fromkeys(score.label for score in scores):
        mine = [found[label, measure] for measure in measures]
        values = ["n/a" if score.value is None else f"{score.value:.4g}" for score in mine]
        lines.append([label, str(mine[0].images), *values])
    parts = ["\n".join("| " + " | ".join(cells) + " |" for cells in lines)]
    parts.append("Results against the true edits of the same items.")
    weights = {score.measure: score.weights for score in scores}
    parts.append("\n".join(f"- {measure}: features of {weights[measure]}" for measure in measures))
    if reasons := [f"- {score.measure} of {score.label}: {score.reason}" for score in scores if score.reason]:
        parts.append("Not available:\n" + "\n".join(reasons))
    return "\n\n".join(parts) + "\n"
