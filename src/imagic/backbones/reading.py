"""The parts of a pipeline folder, or of a single-file checkpoint with such a folder's configs, read from the disk.

Weights are read in the precision that they were stored in, which their hash needs and which takes no more memory than
it must. Nothing is fetched here, and pickled weights are refused unless the plan allows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ModelMixin, SchedulerMixin
from safetensors import safe_open
from transformers import BitsAndBytesConfig, PreTrainedModel, T5EncoderModel

from imagic.backbones import lora, settings
from imagic.backbones.foreign import no_larger_than, told
from imagic.backbones.plan import LoadPlan
from imagic.backbones.quiet import quiet
from imagic.core.errors import ModelError, NotAvailable, OptionError

# A file of weights as diffusers and transformers name it, in any of the places where the variant stands.
_WEIGHTS = r"(diffusion_pytorch_model|pytorch_model|model){variant}(-\d+-of-\d+)?{variant}\.{ending}"
LACKING = "it lacks tensors of the model that the configs describe."
REFUSAL = "it is pickled, which can run code when it is read; give --allow-pickle if you trust who made it"


@dataclass(frozen=True)
class Layout:
    """A family's folder: its pipeline class in diffusers, its network, and the class that reads each part.

    in_file: what the tensors' names of a part begin with in a single-file checkpoint, which may hold it beside the
    network. optional: parts that a folder's index may leave out together. cascade: the model may have upper stages.
    """

    pipeline: str
    network: str
    classes: Mapping[str, type]
    in_file: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    cascade: bool = False

    def pipeline_class(self) -> Any:
        """Imported only now: it takes image processors with it, which no family uses."""
        return getattr(diffusers, self.pipeline)


def read_parts(plan: LoadPlan, layout: Layout) -> dict[str, Any]:
    """Every part by name, on the CPU; None for an optional one that the index leaves out.

    Raises ModelError when a part is missing or damaged, has a setting that cannot be used, or its weights are pickled,
    OptionError for a T5 encoder to quantise that is not there.
    """
    if plan.upper and not layout.cascade:
        raise ModelError(f"Models of the kind {layout.pipeline} have no upper stages: name one model, without a '+'.")
    if plan.file and not hasattr(layout.pipeline_class(), "from_single_file"):
        raise ModelError(f"Models of the kind {layout.pipeline} are read from folders alone, not from a single file.")
    if plan.quantise and T5EncoderModel not in layout.classes.values():
        raise OptionError(f"The model '{plan.name}' has no T5 text encoder to quantise: leave that out.")
    with quiet():
        in_file = _parts_in_file(plan.file, layout) if plan.file else frozenset()
        _check_variant(plan, layout)
        parts = {name: _read(plan, layout, name) for name in layout.classes if name not in in_file}
        if plan.file:
            parts |= _from_single_file(plan, plan.file, layout, parts, in_file)
        for each in plan.loras:
            with _reading(plan.folder):
                lora.add(each, layout.pipeline_class(), parts, allow_pickle=plan.allow_pickle)
    if len({parts[name] is None for name in layout.optional}) > 1:
        names = ", ".join(sorted(layout.optional))
        raise ModelError(f"The model '{plan.name}' has only a part of {names}: get it anew.")
    for name, part in parts.items():
        if part is not None:
            settings.check(name, type(part), settings.of(part))
    return parts


def _reading(source: Path) -> AbstractContextManager[None]:
    return told(f"'{source}' could not be loaded")


def _read(plan: LoadPlan, layout: Layout, name: str) -> Any:
    """One part from the plan's folder."""
    if name in layout.optional and plan.index.get(name) in (None, [None, None]):
        return None
    kind: Any = layout.classes[name]
    folder = plan.folder / name
    if issubclass(kind, SchedulerMixin):
        with _reading(folder):
            config = kind.load_config(folder, local_files_only=True)
        settings.check(name, kind, config)  # before it makes as many levels as that says
        with _reading(folder):
            return kind.from_config(config)
    if not issubclass(kind, (ModelMixin, PreTrainedModel)):
        with _reading(folder):
            return kind.from_pretrained(folder, local_files_only=True)
    variant, files = _weights(folder, plan.variant, plan.allow_pickle)
    options: dict[str, Any] = {"variant": variant or None, "use_safetensors": files[0].suffix == ".safetensors"}
    if plan.quantise and kind is T5EncoderModel:
        options |= _quantised(plan)
    with _reading(folder), no_larger_than(files):
        model, report = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=stored_dtype(files), **options
        )
        # The libraries fill missing ones with random numbers and go on.
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"the file of {kind.__name__} lacks {len(missing)} tensors, {missing[0]} among them")
    return model


def _weights(folder: Path, variant: str, allow_pickle: bool) -> tuple[str, list[Path]]:
    """The variant to ask for, and its files: the asked one where a part has it, and pickles only where nothing else is.
    Raises ModelError when there is none to read."""
    for ending in ("safetensors", "bin"):
        for each in dict.fromkeys((variant, "")):
            if files := _files(folder, each, ending):
                if ending == "bin" and not allow_pickle:
                    raise ModelError(f"'{folder}' could not be loaded: {files[0].name} of {folder.name}: {REFUSAL}.")
                return each, files
    raise ModelError(f"There are no weights in '{folder}': get the model anew.")


def _files(folder: Path, variant: str, ending: str) -> list[Path]:
    if not variant:
        pattern = _WEIGHTS.format(variant="", ending=ending)
    else:
        # Before the number of a shard or, as it used to be, after it: once in all.
        pattern = _WEIGHTS.format(variant=rf"(\.{re.escape(variant)})?", ending=ending)
    found = sorted(folder.glob(f"*.{ending}"))
    return [file for file in found if re.fullmatch(pattern, file.name) and (not variant or f".{variant}" in file.name)]


def _check_variant(plan: LoadPlan, layout: Layout) -> None:
    """Raises ModelError for a variant that no part has."""
    if plan.variant and not any(
        _files(plan.folder / name, plan.variant, ending) for name in layout.classes for ending in ("safetensors", "bin")
    ):
        raise ModelError(f"'{plan.folder}' has no weights of the variant '{plan.variant}': leave it out.")


def stored_dtype(files: Sequence[Path]) -> torch.dtype:
    """The narrowest of float32, bfloat16 and float16 that holds every tensor of the files exactly."""
    kinds: set[str] = set()
    for file in files:
        if file.suffix != ".safetensors":
            return torch.float32
        with safe_open(str(file), framework="pt") as tensors:
            kinds |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 (not a mapping)
    floats = {kind for kind in kinds if kind.startswith(("F", "BF"))}
    if floats == {"F16"}:
        return torch.float16
    return torch.bfloat16 if floats and floats <= {"BF16", "F8_E4M3", "F8_E5M2"} else torch.float32


def _quantised(plan: LoadPlan) -> dict[str, Any]:
    """The arguments with which transformers quantises a model while it reads it."""
    if find_spec("bitsandbytes") is None:
        raise NotAvailable("Quantised text encoders need bitsandbytes: pip install 'imagic[lowmem]'.")
    four = plan.quantise == "4bit"
    config = BitsAndBytesConfig(
        load_in_8bit=not four,
        load_in_4bit=four,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=plan.dtype or torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": plan.device}}


def _parts_in_file(file: Path, layout: Layout) -> frozenset[str]:
    """What a single-file checkpoint holds: the network, and the parts whose tensors it names."""
    with _reading(file):
        if file.suffix == ".safetensors":
            with safe_open(str(file), framework="pt") as tensors:
                names = set(tensors.keys())
        else:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            names = set(checkpoint.get("state_dict", checkpoint))
    held = {part for part, start in layout.in_file.items() if any(name.startswith(start) for name in names)}
    return frozenset(held | {layout.network})


def _from_single_file(
    plan: LoadPlan, file: Path, layout: Layout, parts: Mapping[str, Any], in_file: frozenset[str]
) -> dict[str, Any]:
    """The parts that the file holds, built from the folder's configs. parts: the others."""
    pipeline_class = layout.pipeline_class()
    unused = {name: None for name in pipeline_class._optional_components if name not in layout.classes}
    # A pipeline corrects settings of its scheduler that it holds to be outdated: give it another.
    scheduler = parts["scheduler"]
    given = {**parts, "scheduler": type(scheduler).from_config(scheduler.config), **unused}
    with _reading(file), no_larger_than([file]):
        try:
            pipeline = pipeline_class.from_single_file(
                str(file), config=str(plan.folder), local_files_only=True, torch_dtype=stored_dtype([file]), **given
            )
        except NotImplementedError as error:  # a tensor that the file lacks has no data to copy
            raise ValueError(LACKING) from error
        found = {name: getattr(pipeline, name) for name in in_file}
        if any(tensor.is_meta for part in found.values() for tensor in part.state_dict().values()):
            raise ValueError(LACKING)
    return found
