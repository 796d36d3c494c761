"""From what the user names to a loaded model: an alias, a local folder in a diffusers pipeline layout, a single-file
checkpoint, or the id of a model on the Hugging Face hub.

The folder's model_index.json names its pipeline class; the family of that name is found among the entry points.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from imagic.backbones import hub
from imagic.backbones.foreign import try_once
from imagic.backbones.placement import default_autocast, default_device
from imagic.backbones.plan import LoadPlan, Lora, read_index
from imagic.backbones.reading import REFUSAL
from imagic.core import registry
from imagic.core.errors import ModelError, OptionError
from imagic.core.types import Backbone

# Alias -> folder inside the installed package.
BUNDLED = {"menagerie": "menagerie/weights/model"}
# Alias -> id on the hub, downloaded when it is named.
ALIASES = {
    "sd1.5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "sd3.5-medium": "stabilityai/stable-diffusion-3.5-medium",
    "sd3.5-large": "stabilityai/stable-diffusion-3.5-large",
    "flux-dev": "black-forest-labs/FLUX.1-dev",
    "z-image": "Tongyi-MAI/Z-Image",
    "if-medium": "DeepFloyd/IF-I-M-v1.0+DeepFloyd/IF-II-M-v1.0",
    "if-xl": "DeepFloyd/IF-I-XL-v1.0+DeepFloyd/IF-II-L-v1.0",
}
# How the pipeline class of a cascade's upper stage ends, and the parts that it shares with its base.
UPPER = "SuperResolutionPipeline"
SHARED = ("text_encoder", "tokenizer")
# Endings of single-file checkpoints; all but the first are pickles.
FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


class Loader(Protocol):
    """What an entry point of the group imagic.backbones is: it loads one family. The folder is local and complete."""

    def __call__(self, plan: LoadPlan) -> Backbone: ...


def load(
    name_or_path: str | Path,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    autocast: torch.dtype | Literal["auto"] | None = "auto",
    *,
    config: str | Path | None = None,
    variant: str = "",
    revision: str = "",
    loras: Sequence[Lora] = (),
    allow_pickle: bool = False,
    quantise: str = "",
    offload: bool = False,
) -> Backbone:
    """Load a model.

    name_or_path: an alias, a folder, a file or a hub id (see `locate`); several for the stages of a cascade, from small
    to large, joined by plus signs.
    device: None takes an accelerator where there is one, else the CPU. dtype: of the weights; None is float32, but
    bfloat16 for large networks on an accelerator. autocast: a lower precision in which the network multiplies
    while it is fitted, say torch.bfloat16; None for none, "auto" for the device's default.
    config: for a single file, the model whose configs and tokenizers belong to it, named like a model; None is the
    folder of the file's name beside it. variant: then of the parts that the file lacks. The others: see LoadPlan.
    Raises ModelError when there is no such model, or none that can be loaded, and OptionError.
    """
    base, *stages = _stages(str(name_or_path))
    source = locate(base, variant=variant, revision=revision, allow_pickle=allow_pickle)
    file = source if source.is_file() else None
    if file is not None:
        beside = file.with_suffix("")
        if config is None and not beside.is_dir():
            raise ModelError(
                f"'{file.name}' holds weights alone: name a folder with the configs and tokenizers of its kind (config,"
                f" --config), or put one named '{beside.name}' beside it."
            )
        source = locate(config or beside, variant=variant, allow_pickle=allow_pickle)
    elif config is not None:
        raise OptionError("A config belongs to a single-file checkpoint: leave it out.")
    upper = tuple(locate(stage, variant=variant, allow_pickle=allow_pickle, upper=True) for stage in stages)
    chosen = default_device() if device is None else torch.device(device)
    plan = LoadPlan(
        name=str(name_or_path),
        folder=source,
        upper=upper,
        file=file,
        variant=variant,
        loras=tuple(loras),
        allow_pickle=allow_pickle,
        quantise=quantise,
        device=chosen,
        dtype=dtype,
        autocast=default_autocast(chosen) if autocast == "auto" else autocast,
        offload=offload,
    )
    backbone = _loader(source)(plan)
    if base not in BUNDLED:
        try_once(backbone)
    return backbone


def _stages(name: str) -> list[str]:
    """The names of a cascade's stages, or the one name."""
    if Path(name).expanduser().exists():
        return [name]
    stages = ALIASES.get(name, name).split("+")
    return stages if len(stages) > 1 and all(stages) else [name]


def locate(
    name_or_path: str | Path,
    *,
    variant: str = "",
    revision: str = "",
    allow_pickle: bool = False,
    upper: bool = False,
) -> Path:
    """The local folder or single file behind a name. upper: it must be the folder of a cascade's upper stage.

    A path that exists comes first; an alias or a hub id, which has exactly one slash, is fetched unless the hub's cache
    has it. Raises ModelError, and OptionError for a revision of what is no model of the hub.
    """
    name = str(name_or_path)
    path, check = Path(name).expanduser(), _check_upper if upper else _loader
    if revision and (name in BUNDLED or path.exists()):
        raise OptionError(f"A revision belongs to a model of the hub, and '{name}' is here: leave it out.")
    if name in BUNDLED:
        folder = Path(str(files("imagic"))) / BUNDLED[name]
        if not (folder / "model_index.json").is_file():
            raise ModelError(f"The bundled model '{name}' is missing from this installation; install imagic again.")
        return folder
    if path.is_file() and not upper:
        return _checked_file(path, allow_pickle)
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise ModelError(f"The folder '{name}' has no model_index.json: it is not a diffusers pipeline.")
        if upper:
            check(path)
        return path
    model_id = ALIASES.get(name, name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model_id, re.ASCII):
        known = ", ".join((*BUNDLED, *ALIASES))
        raise ModelError(
            f"There is no model '{name}': give one of {known}, a folder in a diffusers pipeline layout, a .safetensors"
            " file, or the id of a model on the Hugging Face hub (owner/name)."
        )
    asked: dict[str, Any] = {"variant": variant, "revision": revision, "allow_pickle": allow_pickle, "check": check}
    return hub.fetch(model_id, **asked, without=SHARED) if upper else hub.fetch(model_id, **asked)


def _check_upper(folder: Path) -> None:
    if not (kind := read_index(folder)["_class_name"]).endswith(UPPER):
        raise ModelError(f"After a '+' belongs an upper stage of a cascade, and {kind} is none.")


def _checked_file(path: Path, allow_pickle: bool) -> Path:
    if path.suffix.lower() not in FILES:
        raise ModelError(f"'{path.name}' is no checkpoint: give a .safetensors file.")
    if path.suffix.lower() != FILES[0] and not allow_pickle:
        raise ModelError(f"'{path.name}' was not loaded: {REFUSAL}.")
    return path


def family_name(pipeline_class: str) -> str:
    """The entry-point name of a pipeline class: StableDiffusionXLPipeline -> stable-diffusion-xl."""
    stem = pipeline_class.removesuffix("Pipeline")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])", "-", stem).lower()


def _loader(folder: Path) -> Loader:
    """Of the family that the folder's index names."""
    pipeline_class = read_index(folder)["_class_name"]
    try:
        loader: Loader = registry.find(registry.Group.BACKBONES, family_name(pipeline_class))
    except OptionError as error:
        known = ", ".join(registry.names(registry.Group.BACKBONES)) or "none"
        raise ModelError(f"Models of the kind {pipeline_class} are not supported; known families: {known}.") from error
    return loader
