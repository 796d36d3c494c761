"""Methods, backbones and metrics, found through entry points: the built-in ones enter by the same door as a plugin.

A new one is one file and one line in a pyproject.toml: `name = "module:attribute"` in one of the groups below.
"""

from __future__ import annotations

import difflib
from enum import StrEnum
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from imagic.core.errors import AbilityError, OptionError

if TYPE_CHECKING:
    from imagic.core.types import Backbone, Method, Metric


class Group(StrEnum):
    """The entry-point groups and what an entry is."""

    METHODS = "imagic.methods"  # a Method class without constructor arguments
    BACKBONES = "imagic.backbones"  # a loader, see backbones.loading.Loader
    METRICS = "imagic.metrics"  # a Metric class without constructor arguments
    SET_METRICS = "imagic.set_metrics"  # a SetMetric class without constructor arguments
    EXTRACTORS = "imagic.extractors"  # an Extractor class without constructor arguments
    ENCODERS = "imagic.encoders"  # a loader, see core.encoder.EncoderLoader


def names(group: Group) -> tuple[str, ...]:
    """All names in a group, sorted; nothing is imported."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def find(group: Group, name: str) -> Any:
    """What an entry point refers to, imported now. OptionError for an unknown name, with the nearest known one."""
    for entry in entry_points(group=group, name=name):
        return entry.load()
    kind, known = group.removeprefix("imagic.").removesuffix("s").replace("_", " "), names(group)
    if near := difflib.get_close_matches(name, known, n=1):
        hint = f"did you mean '{near[0]}'?"
    elif known:
        hint = f"choose one of {', '.join(known)}."
    else:
        hint = "none is installed; install the package again with pip."
    raise OptionError(f"Unknown {kind} '{name}': {hint}")


def method(name: str) -> Method:
    """The editing method of that name."""
    found: Method = find(Group.METHODS, name)()
    return found


def metric(name: str) -> Metric:
    """The metric of that name."""
    found: Metric = find(Group.METRICS, name)()
    return found


def check_abilities(method: Method, backbone: Backbone) -> None:
    """Raises AbilityError, naming what is missing, when the model cannot do what the method needs."""
    if missing := sorted(method.needs - backbone.abilities):
        raise AbilityError(
            f"The method '{method.name}' needs {' and '.join(missing)}, which the model '{backbone.name}' does not"
            " have; choose another method or model."
        )
