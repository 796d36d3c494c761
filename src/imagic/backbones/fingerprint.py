"""One hash for a loaded model: its weights, its configurations and its vocabulary, whatever file they came from."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def fingerprint(modules: Mapping[str, nn.Module], facts: Mapping[str, Any]) -> str:
    """sha256 (hex) over sorted tensor names, shapes and values, and over `facts` as JSON.

    Values are hashed as float32, so a checkpoint stored in half precision and its exact float32 copy are one model.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=_plain).encode())
    for part in sorted(modules):
        for name, tensor in sorted(modules[part].state_dict().items()):
            digest.update(f"\n{part}.{name} {tuple(tensor.shape)}\n".encode())
            values = tensor.detach().to("cpu", torch.float32).contiguous()
            digest.update(memoryview(values.reshape(-1).numpy()).cast("B"))
    return digest.hexdigest()


def settings(config: Mapping[str, Any], owner: type) -> dict[str, Any]:
    """The settings of a diffusers config that differ from the defaults of its class.

    Leaving defaults out keeps the hash of a model when a newer diffusers adds a setting that changes nothing.
    """
    parameters = inspect.signature(owner.__init__).parameters  # type: ignore[misc]
    return {
        name: value
        for name, value in config.items()
        if name in parameters and _plain(value) != _plain(parameters[name].default)
    }


def part_facts(modules: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of each network by name: models of diffusers and of transformers."""
    return {
        name: settings(module.config, type(module)) if hasattr(module, "register_to_config") else _text_settings(module)
        for name, module in modules.items()
    }


def _text_settings(text_encoder: Any) -> dict[str, Any]:
    """A transformers model's settings that differ from their defaults, without those that say how it was saved."""
    written = {"transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path"}
    return {name: value for name, value in text_encoder.config.to_diff_dict().items() if name not in written}


def _plain(value: Any) -> Any:
    """Arrays and tuples as lists, as JSON would have them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
