"""Methods, their options and their results as plain JSON values: for listings, forms and tables."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any

from imagic.core.types import Candidate


def describe_method(method: Any) -> dict[str, Any]:
    """A method as plain JSON values: name, paper, texts, needs, presets, and the options of fitting and editing."""
    return {
        "name": method.name,
        "paper": method.paper,
        "texts": list(method.texts),
        "needs": sorted(method.needs),
        "presets": {name: dict(values) for name, values in method.presets.items()},
        "fit": describe_options(method.FitOptions),
        "edit": describe_options(method.EditOptions),
    }


def describe_options(kind: type) -> list[dict[str, Any]]:
    """The fields of an options dataclass as plain JSON values: name, type, default, help, minimum, maximum, choices."""
    hints = typing.get_type_hints(kind)
    return [
        {
            "name": field.name,
            "type": getattr(hints[field.name], "__name__", str(hints[field.name])),
            "default": field.default,
            "help": field.metadata["help"],
            "minimum": field.metadata["minimum"],
            "maximum": field.metadata["maximum"],
            "choices": list(field.metadata["choices"]),
        }
        for field in dataclasses.fields(kind)
    ]


def describe_candidate(candidate: Candidate) -> dict[str, Any]:
    """A rendering as plain JSON values, without its pixels: strength, seed, scores."""
    # JSON has no infinity, such as the PSNR of two equal pictures.
    scores = {name: value if math.isfinite(value) else None for name, value in candidate.scores.items()}
    return {"strength": candidate.strength, "seed": candidate.seed, "scores": scores}
