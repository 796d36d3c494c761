"""The metrics that a run measures beside its own: what each is called, where it looks, and whose weights it uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagic.core import registry
from imagic.core.errors import OptionError
from imagic.core.registry import Group
from imagic.core.types import Metric
from imagic.metrics.region import Reference, Region
from imagic.metrics.weights import build


@dataclass(frozen=True)
class Measure:
    """A metric under the name by which it was asked for. weights: what they are and their hash, empty without any."""

    label: str
    metric: Metric
    weights: str = ""


def open_measures(labels: Sequence[str], paths: Mapping[str, Path]) -> list[Measure]:
    """One measure per label: a metric's name, and after colons what it looks at.

    "psnr" is the whole image against the input, "psnr:kept" and "psnr:edited" a part of it, "psnr:truth" is against the
    true edit. paths: of weights, by name. Raises OptionError for a wrong label, NotAvailable for missing weights.
    """
    return [_measure(label, paths) for label in dict.fromkeys(labels)]


def _measure(label: str, paths: Mapping[str, Path]) -> Measure:
    name, *parts = label.split(":")
    metric, weights = build(registry.find(Group.METRICS, name), paths)
    fields = {field.name for field in dataclasses.fields(metric)} if dataclasses.is_dataclass(metric) else set()
    looks: dict[str, Any] = {}
    for part in parts:
        axis: type[Region] | type[Reference] = Region if part in set(Region) else Reference
        if part not in set(axis):
            known = ", ".join([*Region, *Reference])
            raise OptionError(f"The metric '{label}' cannot look at '{part}': choose among {known}.")
        if axis.__name__.lower() not in fields:
            raise OptionError(f"The metric '{name}' has no choice of a {axis.__name__.lower()}: leave out ':{part}'.")
        looks[axis.__name__.lower()] = axis(part)
    return Measure(label, dataclasses.replace(metric, **looks) if looks else metric, weights)
