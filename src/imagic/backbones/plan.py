"""What a loader is asked for: where a model's files are, what to add to them, and where the model goes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from imagic.core.errors import ModelError, OptionError

QUANTISED = ("8bit", "4bit")


@dataclass(frozen=True)
class Lora:
    """A LoRA file, and how much of it to add."""

    path: Path
    weight: float = 1.0

    @staticmethod
    def parse(text: str) -> Lora:
        """`path` or `path:weight`. A colon that no number follows belongs to the path. Raises OptionError."""
        path, colon, number = text.rpartition(":")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            colon, weight = "", 1.0
        path = path if colon else text
        if not path or not math.isfinite(weight):
            raise OptionError(f"A LoRA is a file, or a file and its weight such as dog.safetensors:0.7, not '{text}'.")
        return Lora(Path(path).expanduser(), weight)


@dataclass(frozen=True)
class LoadPlan:
    """One model to load.

    name: what the user asked for. folder: a local diffusers pipeline folder. upper: those of a cascade's upper stages,
    from small to large. device: where the model goes. file: a
    single-file checkpoint that takes the place of the folder's weights. variant: of the weight files, such as fp16.
    loras: added to the weights. allow_pickle: read pickled weights too, which may run code. quantise: T5 text encoders,
    to "8bit" or "4bit"; "" for not. dtype: None for the default of the device. autocast: a lower precision in
    which the network multiplies while it is fitted. offload: text encoders and autoencoder wait on the CPU until they
    are used.
    """

    name: str
    folder: Path
    device: torch.device
    upper: tuple[Path, ...] = ()
    file: Path | None = None
    variant: str = ""
    loras: tuple[Lora, ...] = ()
    allow_pickle: bool = False
    quantise: str = ""
    dtype: torch.dtype | None = None
    autocast: torch.dtype | None = None
    offload: bool = False

    def __post_init__(self) -> None:
        if self.quantise and self.quantise not in QUANTISED:
            raise OptionError(f"Text encoders can be quantised to {' or '.join(QUANTISED)}, not '{self.quantise}'.")

    @cached_property
    def index(self) -> dict[str, Any]:
        """The folder's model_index.json."""
        return read_index(self.folder)

    def upper_stages(self) -> list[LoadPlan]:
        """What is read of each upper stage: weights alone, since the base has the text encoders."""
        own = replace(self, upper=(), file=None, loras=(), quantise="")
        return [replace(own, folder=folder) for folder in self.upper]

    def placement(self) -> dict[str, Any]:
        """The arguments of a family's backbone that say where it goes."""
        return {"device": self.device, "dtype": self.dtype, "autocast": self.autocast, "offload": self.offload}


def read_index(folder: Path) -> dict[str, Any]:
    """A folder's model_index.json, which names its pipeline class. Raises ModelError for one that is damaged."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(index["_class_name"], str):
            return dict(index)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ModelError(f"'{path}' does not name a pipeline class; the model's folder is damaged.")
