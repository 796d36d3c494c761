"""From what the user names to a loaded model: the bundled alias, or a local folder in a diffusers pipeline layout.

The folder's model_index.json names its pipeline class; the family of that name is found among the entry points.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import torch

from imagic.core import registry
from imagic.core.errors import ModelError, OptionError
from imagic.core.types import Backbone

# Alias -> folder inside the installed package.
BUNDLED = {"menagerie": "menagerie/weights/model"}


class Loader(Protocol):
    """What an entry point of the group imagic.backbones is: it loads one family from a local pipeline folder."""

    def __call__(
        self, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype, autocast: torch.dtype | None
    ) -> Backbone: ...


def load(
    name_or_path: str | Path,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
) -> Backbone:
    """Load a model.

    name_or_path: an alias (see BUNDLED) or a local folder with a model_index.json.
    device: None takes a CUDA device where there is one, else the CPU. dtype: of the weights. autocast: a lower
    precision for the denoiser's arithmetic, say torch.bfloat16; None for none.
    Raises ModelError when there is no such model, or none that can be loaded.
    """
    folder = locate(name_or_path)
    loader: Loader = _family(folder)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return loader(folder, name=str(name_or_path), device=chosen, dtype=dtype, autocast=autocast)


def locate(name_or_path: str | Path) -> Path:
    """The local folder behind a name. Nothing is downloaded: a hub id must be fetched first and given as a folder."""
    name = str(name_or_path)
    if name in BUNDLED:
        folder = Path(str(files("imagic"))) / BUNDLED[name]
        if not (folder / "model_index.json").is_file():
            raise ModelError(f"The bundled model '{name}' is missing from this installation; install imagic again.")
        return folder
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(
            f"There is no model '{name}': give {' or '.join(BUNDLED)}, or a local folder in a diffusers pipeline layout"
            " (models of the hub must be downloaded to a folder first)."
        )
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"The folder '{name}' has no model_index.json: it is not a diffusers pipeline.")
    return folder


def family_name(pipeline_class: str) -> str:
    """The entry-point name of a pipeline class: StableDiffusionXLPipeline -> stable-diffusion-xl."""
    stem = pipeline_class.removesuffix("Pipeline")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])", "-", stem).lower()


def _family(folder: Path) -> Loader:
    index = folder / "model_index.json"
    try:
        pipeline_class = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
        loader: Loader = registry.find(registry.Group.BACKBONES, family_name(pipeline_class))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"'{index}' does not name a pipeline class; the model's folder is damaged.") from error
    except OptionError as error:
        known = ", ".join(registry.names(registry.Group.BACKBONES)) or "none"
        raise ModelError(f"Models of the kind {pipeline_class} are not supported; known families: {known}.") from error
    return loader
