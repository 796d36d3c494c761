"""Metrics over sets of images: the results of a method against the true edits of the same items, or given pictures.

They are computed from the pictures of a finished run, so that a resumed or sharded run gives the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from imagic.bench import strips
from imagic.bench.arms import by_arm
from imagic.bench.rows import Row
from imagic.bench.suites.given import class_images, middle_square
from imagic.bench.tables import Table, significant
from imagic.core import registry
from imagic.core.errors import NotAvailable, OptionError
from imagic.core.registry import Group
from imagic.core.types import Extractor, Features, SetMetric
from imagic.metrics.extractors import extract
from imagic.metrics.weights import build

TRUE_EDITS = "the true edits of the same items"


@dataclass(frozen=True)
class SetScore:
    """One metric of one method. measure: as asked, "fid:clip". weights: the extractor's, and their hash. images: in
    the set. against: what they are compared with. value: None where there is none, and then `reason` says why."""

    label: str
    measure: str
    weights: str
    images: int
    against: str
    value: float | None
    reason: str = ""


def score_sets(
    folder: Path,
    rows: Sequence[Row],
    measures: Sequence[str],
    paths: Mapping[str, Path],
    device: torch.device | str = "cpu",
    references: Path | None = None,
) -> list[SetScore]:
    """Every set metric of `measures` ("metric:extractor") for every arm with a result in the run in `folder`.

    Classes, where a metric needs them, are the groups of the items. paths: of weights, by name. references: a folder of
    pictures to compare with, in folders by class or in none; by default the true edits. Raises OptionError for a wrong
    name or folder, NotAvailable for missing weights or unknown true edits, OutputError for a missing picture.
    """
    parsed = {measure: _parsed(measure) for measure in measures}
    loaded = {name: build(registry.find(Group.EXTRACTORS, name), paths) for _, name in parsed.values()}
    good = [row for row in rows if not row["error"]]
    if measures and references is None and any("psnr_truth" not in row["scores"] for row in good):
        raise NotAvailable("The true edits of this run are not known: name a folder of pictures with --references.")
    scores = []
    for name, (extractor, weights) in loaded.items():
        source = {row["item"]: row for row in good}  # of several methods' rows any one: they share the true edit
        given = _given(folder, good, references, extractor, device) if references and good else None
        truths = {} if given else _panels(folder, list(source.values()), "truth", extractor, device)
        against = f"{len(given.values)} given pictures" if given else TRUE_EDITS
        for label, mine in by_arm(good).items():
            groups = [row["group"] for row in mine]
            results = _panels(folder, mine, "result", extractor, device)
            made = Features(torch.stack(list(results.values())), groups)
            pair = made, given or Features(torch.stack(list(_only(truths, results).values())), groups)
            for measure, (metric, its_extractor) in parsed.items():
                if its_extractor == name:
                    scores.append(SetScore(label, measure, weights, len(mine), against, *_value(metric, *pair)))
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


def _given(
    folder: Path, rows: Sequence[Row], references: Path, extractor: Extractor, device: torch.device | str
) -> Features:
    """The features of the references' middle squares, at the size of the results."""
    side = max(strips.panel(folder, rows[0]["picture"], "result").shape[1:])
    files = class_images(references)
    images = (middle_square(path, side).to(device) for _, path in files)
    return Features(extract(extractor, images), [group for group, _ in files] if files[0][0] else ())


def _only(features: Mapping[str, Tensor], items: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {item: features[item] for item in items}


def _value(metric: SetMetric, images: Features, references: Features) -> tuple[float | None, str]:
    try:
        return metric(images, references), ""
    except NotAvailable as reason:
        return None, str(reason)


def table(scores: Sequence[SetScore]) -> Table:
    """A line per method and a column per metric; its note says the weights, and the reasons for what is missing."""
    measures = list(dict.fromkeys(score.measure for score in scores))
    found = {(score.label, score.measure): score for score in scores}
    body = []
    for label in dict.fromkeys(score.label for score in scores):
        mine = [found[label, measure] for measure in measures]
        values = [significant(score.value) for score in mine]
        body.append([label, str(mine[0].images), *values])
    parts = [f"Results against {scores[0].against}."]
    weights = {score.measure: score.weights for score in scores}
    parts.append("\n".join(f"- {measure}: features of {name}" for measure, name in weights.items()))
    if reasons := [f"- {score.measure} of {score.label}: {score.reason}" for score in scores if score.reason]:
        parts.append("Not available:\n" + "\n".join(reasons))
    return Table(["method", "images", *measures], body, "Metrics over sets", "\n\n".join(parts))
