"""Where an exported model keeps the weights of each network that is trained, for a run that begins with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from imagic.core.errors import ModelError
from imagic.menagerie.judge import FILE as JUDGE
from imagic.menagerie.judge import load_judge
from imagic.menagerie.training.decoder import DecoderTask
from imagic.menagerie.training.helpers import HELPERS, helper_file
from imagic.menagerie.training.instruct import FILE as ADAPTER
from imagic.menagerie.training.instruct import InstructTask, split_adapter
from imagic.menagerie.training.judging import READER
from imagic.menagerie.training.loop import Task


def begin_with(task: Task, folder: Path) -> list[str]:
    """Puts the weights of an exported model into the task's networks; returns the helpers that it lacks.

    Raises ModelError when any other network's weights are missing, or are of another network.
    """
    missing = []
    for name, network in task.networks().items():
        found = _weights(task, folder, name)
        if found is None and name in HELPERS:
            missing.append(name)
            continue
        if found is None:
            raise ModelError(f"There are no weights of '{name}' in {folder}; name the folder of an exported model.")
        try:
            network.load_state_dict(_with_shared(found, network))
        except RuntimeError as error:
            raise ModelError(
                f"The weights of '{name}' in {folder} are of another network; start from a model like it."
            ) from error
    return missing


def _weights(task: Task, folder: Path, name: str) -> dict[str, Tensor] | None:
    """A network's state by its own names; None where the folder holds none. A part's own export is as good as the
    model that has it in a folder of that name."""
    if name == READER:
        return load_judge(folder / JUDGE).reader.state_dict()
    if name in HELPERS:
        return _read(helper_file(folder, name))
    if isinstance(task, InstructTask):
        whole = _read(folder / ADAPTER, folder / task.name / ADAPTER)
        return whole and split_adapter(whole)[name]
    if isinstance(task, DecoderTask):
        whole, prefix = _in(folder, "vae"), f"{name}."
        return whole and {key.removeprefix(prefix): whole[key] for key in whole if key.startswith(prefix)}
    return _in(folder, name)


def _with_shared(found: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """With all names of tensors that share memory in the network: a file holds those once, under one of them."""
    names: dict[int, list[str]] = {}
    for key, value in network.state_dict().items():
        names.setdefault(value.data_ptr(), []).append(key)
    alike = {key: keys for keys in names.values() if len(keys) > 1 for key in keys}
    return {other: value for key, value in found.items() for other in alike.get(key, [key])}


def _in(folder: Path, name: str) -> dict[str, Tensor] | None:
    """What lies in the folder of that name, else in this one."""
    return _read(*sorted((folder / name).glob("*.safetensors")), *sorted(folder.glob("*.safetensors")))


def _read(*files: Path) -> dict[str, Tensor] | None:
    """The first of the files that is there."""
    return next((load_file(file) for file in files if file.is_file()), None)
