"""A change of weights under the names by which other programs know it: a LoRA as diffusers and as kohya's scripts write
it, or a difference of whole weights.

A LoRA's scale alpha / rank is multiplied into its factors, so that every reader's default, alpha = rank, is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import convert_state_dict_to_kohya
from torch import Tensor

from imagic.core.types import WeightChange

UNET = "unet"
DIFFUSERS, KOHYA = FORMS = ("diffusers", "kohya")


def named(change: WeightChange, part: str, form: str) -> Mapping[str, Tensor]:
    """The tensors of a file. part: the network's name in its pipeline. form: one of FORMS; kohya's for a UNet alone."""
    if change.kind == "lora":
        factors = {f"{part}.{name}": tensor for name, tensor in _scaled(change).items()}
        return convert_state_dict_to_kohya(factors) if form == KOHYA else factors
    if form == KOHYA:
        return {_kohya_difference(name): tensor for name, tensor in change.tensors.items()}
    return {f"{part}.{name}": tensor for name, tensor in change.tensors.items()}


def write_network(network: Any, folder: Path) -> None:
    """A diffusers model as its folder, without the place on this machine that it was read from."""
    network.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _scaled(change: WeightChange) -> dict[str, Tensor]:
    """The factors of a LoRA whose alpha is its rank. A scale other than 1 would be rounded in half precision."""
    scale = float(change.facts["alpha"]) / int(change.facts["rank"])
    return {
        name: tensor.to(torch.float32) * scale if scale != 1 and ".lora_B." in name else tensor
        for name, tensor in change.tensors.items()
    }


def _kohya_difference(name: str) -> str:
    """`a.b.weight` becomes `lora_unet_a_b.diff`, and a bias `diff_b`."""
    layer, _, kind = name.rpartition(".")
    return f"lora_unet_{layer.replace('.', '_')}.{'diff_b' if kind == 'bias' else 'diff'}"
