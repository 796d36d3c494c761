"""A fitted state as one safetensors file: tensors beside a JSON header, nothing that runs when it is read.

The header names the format, its version and a digest over tensors and facts, so that a damaged, foreign or newer file
is refused with a sentence rather than misread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.errors import OutputError, StateError
from imagic.core.files import replacing
from imagic.core.types import Backbone, State, WeightChange

FORMAT = "imagic-state"
VERSION = 1
# The safetensors header lists names, shapes and our facts: kilobytes for any network, never this much.
MAX_HEADER_BYTES = 16 * 2**20


def save_state(state: State, path: Path, overwrite: bool = False) -> None:
    """Write `state` to `path`, whole or not at all.

    Raises OutputError when the file exists (and `overwrite` is off) or cannot be written, and ValueError for facts
    that are no finite JSON values.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    facts = json.dumps(state.facts, sort_keys=True, allow_nan=False)
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "method": state.method,
        "facts": facts,
        "digest": _digest(tensors, state.method, facts),
    }
    with replacing(path, overwrite) as part:
        try:
            save_file(tensors, part, metadata=header)
        except SafetensorError as error:
            raise OutputError(f"Cannot write the state to '{path}' ({error}): choose another place.") from error


def load_state(path: Path) -> State:
    """Read a state written by `save_state`; tensors on the CPU.

    Raises StateError for a file that is missing, damaged, no state, or of another version.
    """
    _check_header_size(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            _check_version(header, path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise StateError(f"'{path}' is damaged or no state file ({error}): fit again.") from error
    method, text = header.get("method", ""), header.get("facts", "")
    if not method or header.get("digest") != _digest(tensors, method, text):
        raise StateError(f"'{path}' is damaged (its contents do not match its digest): fit again.")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"'{path}' is damaged (its facts cannot be read): fit again.") from error
    if not isinstance(facts, dict):
        raise StateError(f"'{path}' is damaged (its facts are no table): fit again.")
    return State(method=method, tensors=tensors, facts=facts)


def state_method(path: Path) -> str:
    """The method that fitted a state, from the file's header alone. Raises StateError as `load_state`."""
    _check_header_size(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise StateError(f"'{path}' is damaged or no state file ({error}): fit again.") from error
    _check_version(header, path)
    method: str = header.get("method", "")
    return method


def check_state(state: State, method: str, backbone: Backbone) -> None:
    """Raise StateError unless `state` was fitted by `method` with exactly the weights of `backbone`."""
    if state.method != method:
        raise StateError(f"This state was fitted by '{state.method}', not '{method}': edit with that method.")
    if state.facts.get("fingerprint") != backbone.fingerprint:
        made_by, made_hash = state.facts.get("model", "an unknown model"), str(state.facts.get("fingerprint", "?"))
        raise StateError(
            f"This state was made with the model '{made_by}' ({made_hash[:12]}), but '{backbone.name}' "
            f"({backbone.fingerprint[:12]}) is loaded: load that model, or fit again."
        )


def pack_conditioning(prefix: str, conditioning: Conditioning) -> dict[str, Tensor]:
    """A conditioning's tensors under `prefix.<name>`, on the CPU."""
    return {f"{prefix}.{name}": tensor.detach().cpu() for name, tensor in conditioning.tensors.items()}


def unpack_conditioning(state: State, prefix: str, learnable: Iterable[str]) -> Conditioning:
    """The conditioning packed under `prefix`, on the CPU. Raises StateError when it is not there."""
    return Conditioning(_under(state, prefix), frozenset(learnable))


def pack_change(prefix: str, change: WeightChange) -> dict[str, Tensor]:
    """A weight change's tensors under `prefix.<name>`; its kind and facts belong into the state's facts."""
    return {f"{prefix}.{name}": tensor.detach().cpu() for name, tensor in change.tensors.items()}


def unpack_change(state: State, prefix: str, kind: str, facts: Mapping[str, Any]) -> WeightChange:
    """The weight change packed under `prefix`. Raises StateError when it is not there."""
    return WeightChange(kind=kind, tensors=_under(state, prefix), facts=facts)


def _under(state: State, prefix: str) -> dict[str, Tensor]:
    found = {
        name.removeprefix(f"{prefix}."): tensor
        for name, tensor in state.tensors.items()
        if name.startswith(f"{prefix}.")
    }
    if not found:
        raise StateError(f"The state has no '{prefix}': it is damaged or of another method; fit again.")
    return found


def _check_header_size(path: Path) -> None:
    """Refuse a header length that the file cannot hold, before anything allocates it."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        total = path.stat().st_size
    except OSError as error:
        raise StateError(f"Cannot read the state '{path}' ({error.strerror}): check the path.") from error
    if total < 8 or size > min(total - 8, MAX_HEADER_BYTES):
        raise StateError(f"'{path}' is damaged or no state file (impossible header size): fit again.")


def _check_version(header: Mapping[str, str], path: Path) -> None:
    if header.get("format") != FORMAT:
        raise StateError(f"'{path}' is a safetensors file but no state of imagic: give a file that a fit saved.")
    if header.get("version") != str(VERSION):
        raise StateError(
            f"'{path}' has state version {header.get('version')}, this imagic reads version {VERSION}: fit again."
        )


def _digest(tensors: Mapping[str, Tensor], method: str, facts: str) -> str:
    digest = hashlib.sha256(f"{method}\n{facts}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
