"""The networks that help in training and are no part of the model.

They are exported beside it, into a folder that does not travel in the package: a later run that begins with the model
goes on with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from imagic.menagerie.training.labels import READER
from imagic.menagerie.training.unsaid import UNSAID

FOLDER = "training"
HELPERS = (READER, UNSAID)


def save_helpers(networks: Mapping[str, nn.Module], model: Path) -> None:
    """Writes those of the networks that are helpers into the folder of an exported model, in half precision."""
    (model / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in HELPERS:
        if name in networks:
            weights = {key: value.to("cpu", torch.float16) for key, value in networks[name].state_dict().items()}
            save_file(weights, helper_file(model, name))


def helper_file(model: Path, name: str) -> Path:
    """Where the folder of an exported model keeps a helper."""
    return model / FOLDER / f"{name}.safetensors"
