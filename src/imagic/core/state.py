"""A fitted state as one safetensors file: tensors beside a JSON header, nothing that runs when it is read.

The header names the format, its version and a digest over tensors and facts, so that a damaged, foreign or newer file
is refused with a sentence rather than misread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from imagic.core import tensor_files
from imagic.core.conditioning import Conditioning
from imagic.core.errors import StateError
from imagic.core.types import Backbone, State, WeightChange

KIND = tensor_files.Kind("imagic-state", 1, noun="state", advice="fit again", sealed=("method", "facts"))


def save_state(state: State, path: Path, overwrite: bool = False) -> None:
    """Write `state` to `path`, whole or not at all.

    Raises OutputError when the file exists (and `overwrite` is off) or cannot be written, and ValueError for facts
    that are no finite JSON values.
    """
    facts = json.dumps(state.facts, sort_keys=True, allow_nan=False)
    tensor_files.write(path, KIND, state.tensors, {"method": state.method, "facts": facts}, overwrite)


def load_state(path: Path) -> State:
    """Read a state written by `save_state`; tensors on the CPU.

    Raises StateError for a file that is missing, damaged, no state, or of another version.
    """
    tensors, header, facts = tensor_files.read(path, KIND)
    return State(method=header["method"], tensors=tensors, facts=facts)


def state_method(path: Path) -> str:
    """The method that fitted a state, from the file's header alone. Raises StateError as `load_state`."""
    return tensor_files.read_header(path, KIND).get("method", "")


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
