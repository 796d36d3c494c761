"""InstructPix2Pix's network (Brooks et al., CVPR 2023): a UNet that sees a picture's latents beside the noisy ones.

A checkpoint of that paper has no other UNet. A text-to-image model may have one as an adapter, small enough to travel
with it: an input layer with the new channels, and a LoRA on the layers behind it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from imagic.backbones import weights
from imagic.backbones.fingerprint import fingerprint
from imagic.core.files import replacing
from imagic.core.types import WeightChange

IMAGE = "image"  # the picture's latents (B, C, h, w) in a bundle, scaled as the network takes them
ADAPTER = Path("instruct", "adapter.safetensors")  # within a model's folder
INPUT = "conv_in."


def sees_pictures(unet: UNet2DConditionModel, channels: int) -> bool:
    """Whether the network takes a picture's latents beside noisy ones, of `channels` each."""
    return bool(unet.config["in_channels"] == 2 * channels)


def widened(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy with twice the input channels, which gives the same output whatever is in the new ones (zero weights)."""
    wide, narrow = copy.deepcopy(unet), unet.conv_in
    layer = nn.Conv2d(2 * narrow.in_channels, narrow.out_channels, narrow.kernel_size, narrow.stride, narrow.padding)
    weight = narrow.weight.detach()
    layer.load_state_dict({**narrow.state_dict(), "weight": torch.cat([weight, torch.zeros_like(weight)], dim=1)})
    layer.to(weight)
    wide.conv_in = layer
    wide.register_to_config(in_channels=2 * narrow.in_channels)
    return wide


def save_adapter(path: Path, base: UNet2DConditionModel, layer: nn.Conv2d, change: WeightChange) -> None:
    """Write what turns `base` into an editor, in half precision: the wide input layer and a LoRA by peft's names."""
    tensors = {**{f"{INPUT}{name}": tensor for name, tensor in layer.state_dict().items()}, **change.tensors}
    facts = {
        "base": fingerprint({"unet": base}, {}),
        "rank": str(change.facts["rank"]),
        "alpha": str(change.facts["alpha"]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as part:
        save_file({name: tensor.half().cpu().contiguous() for name, tensor in tensors.items()}, part, metadata=facts)


def read_editor(folder: Path, base: UNet2DConditionModel) -> UNet2DConditionModel | None:
    """`base` with the adapter of a model's folder, float32. None where there is none, and where it was made for another
    UNet, as after a LoRA has been added to this one."""
    path = folder / ADAPTER
    if not path.is_file():
        return None
    with safe_open(str(path), framework="pt") as file:
        facts = file.metadata() or {}
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if facts.get("base") != fingerprint({"unet": base}, {}):
        return None
    layer = {name: tensor for name, tensor in tensors.items() if name.startswith(INPUT)}
    factors = {name: tensor for name, tensor in tensors.items() if name not in layer}
    change = WeightChange("lora", factors, {"rank": int(facts["rank"]), "alpha": float(facts["alpha"])})
    return adapted(widened(base).float(), layer, change)


def adapted(wide: UNet2DConditionModel, layer: Mapping[str, Tensor], change: WeightChange) -> UNet2DConditionModel:
    """A copy of a widened UNet with this input layer and this LoRA added to its weights. layer: `conv_in.weight` and
    `conv_in.bias`."""
    with weights.apply(wide, change, 1.0):
        editor = copy.deepcopy(wide)
    editor.load_state_dict(dict(layer), strict=False)
    return editor
