"""Loading a model by name, and what it makes of a text."""

from __future__ import annotations

import os
from typing import TypeAlias

import torch

from imagic.core.errors import OptionError
from imagic.core.provenance import portable_model_name
from imagic.core.types import Backbone

Model: TypeAlias = "Backbone | str | os.PathLike[str]"

DEFAULT_MODEL = "menagerie"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_model(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
) -> Backbone:
    """A loaded model.

    name_or_path: "menagerie" (bundled), or a local folder in a diffusers pipeline layout.
    device: "cpu", "cuda", ...; None takes a CUDA device where there is one.
    dtype: of the weights, "float32" (as None), "float16" or "bfloat16".
    Raises ModelError for a model that cannot be found or loaded, OptionError for a device or dtype that cannot be used.
    """
    from imagic.backbones import loading

    try:
        chosen = None if device is None else torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has no one error for an absent device
        raise OptionError(f"The device '{device}' cannot be used here; use cpu, or run imagic doctor.") from error
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise OptionError(f"The dtype must be one of {', '.join(DTYPES)}, not '{dtype}'.")
        dtype = DTYPES[dtype]
    return loading.load(os.fspath(name_or_path), chosen, dtype or torch.float32)


def loaded(model: Model, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None) -> Backbone:
    """A loaded model as it is, a name or path loaded."""
    return load_model(model, device, dtype) if isinstance(model, (str, os.PathLike)) else model


def text_warnings(backbone: Backbone, text: str) -> tuple[str, ...]:
    """What the model will not understand of a text: sentences that name unknown words and the part that is cut off."""
    report = backbone.report_text(text)
    warnings = []
    if report.unknown_words:
        words = ", ".join(f"'{word}'" for word in report.unknown_words)
        warnings.append(f"The model '{portable_model_name(backbone.name)}' does not know {words}; use other words.")
    if report.cut:
        warnings.append(f"The text is too long for the model, which does not see its end: '{report.cut}'.")
    return tuple(warnings)
