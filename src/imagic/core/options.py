"""Options as frozen dataclasses whose fields carry their help, bounds and choices.

Validation, CLI flags, web forms and the reference in the docs are all read from the same fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from imagic.core.errors import OptionError

if TYPE_CHECKING:
    from imagic.core.types import Method

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its documentation and bounds (both inclusive)."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def build_options(kind: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the options dataclass `kind`, checked.

    Raises OptionError for an unknown name (with the nearest known one), a wrong type or a value out of bounds.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else f" Known options: {', '.join(fields)}."
            raise OptionError(f"Unknown option '{name}'.{hint}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _checked(fields[name], hints[name], value) for name, value in values.items()})


def is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: not so with half of a surrogate pair, which JSON may hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def strength_name(edit_options: type) -> str:
    """The field that sets a method's strength: `eta`, Imagic's, or `strength`; "" where the method has none.

    Its plural (`etas`, `strengths`) takes several, each rendered for each seed.
    """
    fields = {field.name for field in dataclasses.fields(edit_options)}
    return next((name for name in ("eta", "strength") if name in fields), "")


def _checked(field: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in allowed:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed and int not in allowed:
        try:
            value = float(value)
        except OverflowError as error:
            raise OptionError(f"Option '{field.name}' is too large a number: give a smaller one.") from error
    if isinstance(value, str) and not is_text(value):
        raise OptionError(f"Option '{field.name}' holds halves of characters: write it anew.")
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"Option '{field.name}' must be a finite number, not {value}.")
    if isinstance(value, list):
        value = tuple(value)
    bare = tuple(typing.get_origin(kind) or kind for kind in allowed)
    if not isinstance(value, bare) or (isinstance(value, bool) and bool not in bare):
        names = " or ".join(kind.__name__ for kind in bare if kind is not type(None))
        raise OptionError(f"Option '{field.name}' must be {names}, not {value!r}.")
    if isinstance(value, tuple) and str in _of_elements(allowed) and not all(isinstance(each, str) for each in value):
        raise OptionError(f"Option '{field.name}' must be a list of texts, not {value!r}.")
    choices = field.metadata.get("choices")
    if choices and isinstance(value, str) and value not in choices:
        raise OptionError(f"Option '{field.name}' must be one of {', '.join(choices)}, not '{value}'.")
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Written so that NaN fails every bound.
    if number and ((low is not None and not value >= low) or (high is not None and not value <= high)):
        raise OptionError(f"Option '{field.name}' must lie between {low} and {high}, not {value}.")
    return value


def _of_elements(allowed: tuple[Any, ...]) -> set[Any]:
    """The types of a tuple's elements, where a tuple is allowed."""
    return {kind for each in allowed if typing.get_origin(each) is tuple for kind in typing.get_args(each)}


def preset_values(method: Method, name: str) -> Mapping[str, Any]:
    """The values of a method's preset; none for "". Raises OptionError for a name that it does not have."""
    if name and name not in method.presets:
        known = ", ".join(method.presets) or "none"
        raise OptionError(f"The method '{method.name}' has no preset '{name}'; it has: {known}.")
    return method.presets[name] if name else {}
