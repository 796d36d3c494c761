"""Trials: a method with its options checked, at its own strength or at one strength of a sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagic.bench import rows
from imagic.bench.types import Entry
from imagic.core.errors import OptionError
from imagic.core.options import build_options, preset_values, strength_name

# The range over which DiffEdit's paper draws its trade-off curves (encoding ratios 0.3 to 1).
SWEEP = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Trial:
    """An entry with its options checked. strength: of a sweep; None where the method takes its own."""

    entry: Entry
    fit_options: Any
    edit_options: Any
    strength: float | None = None

    def at(self, strength: float | None) -> Trial:
        """The same entry at a strength. Raises OptionError for one that the method does not take."""
        if strength is None:
            return dataclasses.replace(self, strength=None, edit_options=_edit_options(self.entry))
        name = strength_name(self.entry.method.EditOptions)
        if not name:
            raise OptionError(f"The method '{self.entry.method.name}' has no strength: leave it out.")
        return dataclasses.replace(self, strength=strength, edit_options=_edit_options(self.entry, **{name: strength}))

    def fits_like(self, other: Trial) -> bool:
        """Whether one fit of an item serves both: strengths of an entry, or variants that differ in the edit alone."""
        return (
            self.entry.method is other.entry.method
            and self.entry.sees_source_text == other.entry.sees_source_text
            and self.fit_options == other.fit_options
        )

    def described(self) -> dict[str, Any]:
        """The options as a row holds them."""
        return {
            "preset": self.entry.preset,
            "with_source_text": self.entry.sees_source_text,
            "fit": rows.plain(dataclasses.asdict(self.fit_options)),
            "edit": rows.plain(dataclasses.asdict(self.edit_options)),
        }


def trials_of(entries: Sequence[Entry], sweep: Sequence[float] = ()) -> list[Trial]:
    """Of each entry one trial per strength of the sweep; one in all without a sweep, or for a method that has no
    strength.

    Raises OptionError for wrong options, a strength that is both set and swept, and two entries of one name.
    """
    if len({entry.label for entry in entries}) < len(entries):
        raise OptionError("Each method must be named once.")
    return [trial for entry in entries for trial in _of_entry(entry, sweep)]


def _of_entry(entry: Entry, sweep: Sequence[float]) -> list[Trial]:
    method = entry.method
    fit_options: Any = build_options(method.FitOptions, {**preset_values(method, entry.preset), **entry.fit})
    plain = Trial(entry, fit_options, _edit_options(entry))
    name = strength_name(method.EditOptions)
    if not (sweep and name):
        return [plain]
    if fixed := [option for option in (name, f"{name}s") if option in entry.edit]:
        raise OptionError(f"The strength of '{entry.label}' is set already: leave out {fixed[0]}, or the sweep.")
    return [plain.at(strength) for strength in dict.fromkeys(sweep)]


def parse_sweep(text: str) -> tuple[float, ...]:
    """Strengths from "strength" (those of SWEEP) or "strength=0.3,0.5"; none from "". Raises OptionError."""
    if not text:
        return ()
    name, equals, values = text.partition("=")
    if name != "strength" or (equals and not all(_is_number(value) for value in values.split(","))):
        raise OptionError(f"A sweep is written strength or strength=0.3,0.5, not '{text}'.")
    return tuple(float(value) for value in values.split(",")) if equals else SWEEP


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _edit_options(entry: Entry, **more: Any) -> Any:
    kind = entry.method.EditOptions
    own = {} if entry.strength is None else {strength_name(kind): entry.strength}
    return build_options(kind, {**entry.edit, **own, **more})
