"""From the names on a command line to methods on trial: an installed method, a baseline, or a variant of a method."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from imagic.bench import ablations, tuned
from imagic.bench.ablations import Variant
from imagic.bench.baselines import BASELINES
from imagic.bench.types import Entry
from imagic.core import registry
from imagic.core.errors import OptionError
from imagic.core.registry import Group
from imagic.core.types import Method

VARIANTS: Mapping[str, Variant] = MappingProxyType({**ablations.VARIANTS, **tuned.TUNED})


def names() -> tuple[str, ...]:
    """All that `entries` knows: methods first, then baselines and variants."""
    return (*registry.names(Group.METHODS), *BASELINES, *VARIANTS)


def methods_of(labels: Sequence[str]) -> list[str]:
    """The installed methods that the labels name, themselves or by a variant; unknown names and baselines are none."""
    found = [VARIANTS[label].method if label in VARIANTS else label for label in labels]
    return [name for name in dict.fromkeys(found) if name in registry.names(Group.METHODS)]


def entries(
    labels: Sequence[str],
    preset: str = "",
    fit: Mapping[str, Any] | None = None,
    edit: Mapping[str, Any] | None = None,
) -> list[Entry]:
    """One entry per name; variants of a method have one method between them, and so can share a fit.

    preset: of plain methods; a variant has its own. fit, edit: option values for all; where a variant differs from its
    method in one of them, its own stands. A baseline takes none of the three.

    Raises OptionError for an unknown name, with the nearest known one. Options are checked by `run`.
    """
    method_of = cache(registry.method)
    return [_entry(label, preset, fit or {}, edit or {}, method_of) for label in labels]


def _entry(
    label: str, preset: str, fit: Mapping[str, Any], edit: Mapping[str, Any], method_of: Callable[[str], Method]
) -> Entry:
    if label in BASELINES:
        return Entry(label, BASELINES[label]())
    if label not in names():
        near = difflib.get_close_matches(label, names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(names())}."
        raise OptionError(f"Unknown method '{label}': {hint}")
    chosen = VARIANTS.get(label) or Variant(label, preset)
    options = {**fit, **chosen.fit}, {**edit, **chosen.edit}
    return Entry(label, method_of(chosen.method), chosen.preset, *options, chosen.with_source_text, chosen.strength)
