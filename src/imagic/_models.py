"""Loading a model by name, and what it makes of a text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch

from imagic._asked import follows_instructions
from imagic.core import registry
from imagic.core.errors import OptionError, OutOfMemory
from imagic.core.memory import ADVICE, ran_out
from imagic.core.provenance import portable_model_name
from imagic.core.types import Backbone

Model: TypeAlias = "Backbone | str | os.PathLike[str]"

DEFAULT_MODEL = "menagerie"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_model(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    variant: str = "",
    revision: str = "",
    loras: Sequence[str] = (),
    allow_pickle: bool = False,
    quantise_text: str = "",
    offload: bool = False,
) -> Backbone:
    """A loaded model.

    name_or_path: "menagerie" (bundled) or another alias, a local folder in a diffusers pipeline layout, a .safetensors
    file, or the id of a model on the Hugging Face hub, which is then downloaded.
    device: "cpu", "cuda", "mps", "xpu", ...; None takes an accelerator where there is one.
    dtype: of the weights, "float32", "float16" or "bfloat16"; None is float32, but bfloat16 for a network of more than
    a thousand million parameters on an accelerator.
    config: for a single file, the model whose configs and tokenizers belong to it; None is the folder of its name
    beside it. variant: of the weight files, such as "fp16". revision: of a model on the hub. loras: LoRA files, each
    "path" or "path:weight". allow_pickle: read pickled weights too, which may run code.
    quantise_text: T5 text encoders to "8bit" or "4bit". offload: text encoders and autoencoder stay on the CPU until
    they are used.
    Raises ModelError for a model that cannot be found or loaded, OutOfMemory for one that is too large, OptionError for
    a device, dtype or other option that cannot be used.
    """
    from imagic.backbones import loading
    from imagic.backbones.plan import Lora

    try:
        chosen = None if device is None else torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has no one error for an absent device
        raise OptionError(f"The device '{device}' cannot be used here; use cpu, or run imagic doctor.") from error
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise OptionError(f"The dtype must be one of {', '.join(DTYPES)}, not '{dtype}'.")
        dtype = DTYPES[dtype]
    try:
        return loading.load(
            os.fspath(name_or_path),
            chosen,
            dtype,
            config=None if config is None else os.fspath(config),
            variant=variant,
            revision=revision,
            loras=[Lora.parse(each) for each in loras],
            allow_pickle=allow_pickle,
            quantise=quantise_text,
            offload=offload,
        )
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(f"Memory ran out while '{name_or_path}' was loaded: {ADVICE}.") from error


def loaded(
    model: Model,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    loading: Mapping[str, Any] | None = None,
) -> Backbone:
    """A loaded model as it is, a name or path loaded. loading: further keywords of load_model."""
    return load_model(model, device, dtype, **(loading or {})) if isinstance(model, (str, os.PathLike)) else model


def text_warnings(backbone: Backbone, text: str, method: str = "") -> tuple[str, ...]:
    """What the model will not understand of a text: sentences that name unknown words and the part that is cut off.

    method: by name; one that follows instructions has learned words of its own, so that none counts as unknown.
    """
    report = backbone.report_text(text)
    warnings = []
    if report.unknown_words and not (method and follows_instructions(registry.method(method))):
        words = ", ".join(f"'{word}'" for word in report.unknown_words)
        warnings.append(f"The model '{portable_model_name(backbone.name)}' does not know {words}; use other words.")
    if report.cut:
        warnings.append(f"The text is too long for the model, which does not see its end: '{report.cut}'.")
    return tuple(warnings)
