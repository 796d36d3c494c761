"""What a caller asks of a method, by name, turned into the method's own options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor

from imagic._masking import MASK_OPTIONS
from imagic.core.errors import OptionError, TextError
from imagic.core.options import build_options, strength_name
from imagic.core.types import FitRequest, Method

Strength: TypeAlias = "Literal['auto'] | float | Sequence[float]"


def follows_instructions(method: Method) -> bool:
    """Whether its text says what to do, and not what the result shows."""
    return "instruction" in method.texts and "target_text" not in method.texts


def fit_request(method: Method, image: Tensor, text: str, source_text: str, seed: int) -> FitRequest:
    """What the method is given to fit. image: (1, 3, side, side). text: the one text that a caller gives; where it is
    an instruction it also stands for the target text, which names the edit in states and records."""
    instruction = text if follows_instructions(method) else ""
    return FitRequest(image, text, source_text, instruction, seed=seed)


def split_options(method: Method, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Option values by name, parted into those of fitting and those of editing, to which those of masks belong; a name
    of both goes to both.

    Raises OptionError for a name of neither.
    """
    of_fit, of_edit = _names(method.FitOptions), _names(method.EditOptions) | MASK_OPTIONS
    if unknown := [name for name in values if name not in of_fit | of_edit]:
        known = ", ".join(sorted(of_fit | _names(method.EditOptions)))
        raise OptionError(f"The method '{method.name}' has no option '{unknown[0]}'; it has: {known}.")
    return (
        {name: value for name, value in values.items() if name in of_fit},
        {name: value for name, value in values.items() if name in of_edit},
    )


def edit_options(method: Method, values: Mapping[str, Any], strength: Strength, eta: Strength = "auto") -> Any:
    """The method's options of editing, checked. values: by name; those of masks may be among them, and are left out.

    strength, eta: as for `edit`. Raises OptionError.
    """
    of_method = _names(method.EditOptions)
    own = {name: value for name, value in values.items() if name in of_method}
    return build_options(method.EditOptions, own | _strength_values(method, strength, eta))


def target_values(method: Method, text: str) -> dict[str, Any]:
    name = "instruction" if follows_instructions(method) else "target_text"
    if name not in _names(method.EditOptions):
        raise TextError(f"The method '{method.name}' edits towards the text it was fitted for; fit again for another.")
    return {name: text}


def _strength_values(method: Method, strength: Strength, eta: Strength) -> dict[str, Any]:
    """The strength as the method's options: none for automatic, `strength` or `eta` for one value, the plural for
    several."""
    asked = [value for value in (strength, eta) if not isinstance(value, str)]
    for value in (strength, eta):
        if isinstance(value, str) and value != "auto":
            raise OptionError(f"A strength must be 'auto', a number or several numbers, not '{value}'.")
    if not asked:
        return {}
    if len(asked) > 1:
        raise OptionError("Give either strength or eta, which are one thing, not both.")
    name = strength_name(method.EditOptions)
    if not name:
        raise OptionError(f"The method '{method.name}' has no strength: leave it out.")
    if isinstance(asked[0], (int, float)):
        return {name: asked[0]}
    if not (several := tuple(asked[0])):
        raise OptionError("Give at least one strength.")
    return {f"{name}s": several}


def _names(options: type) -> set[str]:
    return {field.name for field in dataclasses.fields(options)}
