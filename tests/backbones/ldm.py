"""A Stable Diffusion 1 pipeline under the names that the original (LDM) checkpoints have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def checkpoint(pipeline: Any) -> dict[str, Tensor]:
    """The tensors of UNet, autoencoder and text encoder in one dictionary."""
    layers = pipeline.unet.config["layers_per_block"]
    attention = [kind.startswith("CrossAttn") for kind in pipeline.unet.config["up_block_types"]]
    blocks = len(pipeline.vae.config["block_out_channels"])
    unet = {_unet(name, layers, attention): each for name, each in pipeline.unet.state_dict().items()}
    vae = {_vae(name, blocks): _as_convolution(name, each) for name, each in pipeline.vae.state_dict().items()}
    text = pipeline.text_encoder.state_dict()
    return {
        **{f"model.diffusion_model.{name}": each.contiguous() for name, each in unet.items()},
        **{f"first_stage_model.{name}": each.contiguous() for name, each in vae.items()},
        **{
            f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}": each.contiguous()
            for name, each in text.items()
        },
    }


def _replaced(name: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        if name == new or name.startswith(f"{new}."):
            return old + name[len(new) :]
    return name


def _unet(name: str, layers: int, attention: list[bool]) -> str:
    if found := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.*)", name):
        block, part, layer, rest = int(found[1]), found[2], int(found[3]), found[4]
        if part == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op', 1)}"
        place = f"input_blocks.{1 + block * (layers + 1) + layer}"
        return f"{place}.0.{_replaced(rest, _RESNET)}" if part == "resnets" else f"{place}.1.{rest}"
    if found := re.fullmatch(r"up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)\.(.*)", name):
        block, part, layer, rest = int(found[1]), found[2], int(found[3]), found[4]
        if part == "upsamplers":
            return f"output_blocks.{block * (layers + 1) + layers}.{2 if attention[block] else 1}.{rest}"
        place = f"output_blocks.{block * (layers + 1) + layer}"
        return f"{place}.0.{_replaced(rest, _RESNET)}" if part == "resnets" else f"{place}.1.{rest}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name):
        if found[1] == "attentions":
            return f"middle_block.1.{found[3]}"
        return f"middle_block.{2 * int(found[2])}.{_replaced(found[3], _RESNET)}"
    return _replaced(name, _ENDS)


def _vae(name: str, blocks: int) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if found := re.fullmatch(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name):
        if found[2] == "attentions":
            return f"{found[1]}.mid.attn_1.{_replaced(found[4], _VAE_ATTENTION)}"
        return f"{found[1]}.mid.block_{int(found[3]) + 1}.{found[4]}"
    if found := re.fullmatch(r"encoder\.down_blocks\.(\d+)\.(resnets|downsamplers)\.(\d+)\.(.*)", name):
        part = f"block.{found[3]}" if found[2] == "resnets" else "downsample"
        return f"encoder.down.{found[1]}.{part}.{found[4]}"
    if found := re.fullmatch(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.*)", name):
        part = f"block.{found[3]}" if found[2] == "resnets" else "upsample"
        return f"decoder.up.{blocks - 1 - int(found[1])}.{part}.{found[4]}"
    return name


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    """The autoencoder's attention was written with 1 x 1 convolutions."""
    linear = "mid_block.attentions" in name and tensor.dim() == 2
    return tensor[:, :, None, None] if linear else tensor
