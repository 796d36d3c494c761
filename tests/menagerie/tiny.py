"""Small networks in the shapes of the real ones, for tests that only ask whether the parts fit together."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import nn

from imagic.menagerie.training import vae as training_vae
from imagic.menagerie.training.loop import Task

CHANNELS = (4, 4, 8, 8)
UNET = {
    "block_out_channels": (16, 16, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
    "norm_num_groups": 4,
}
TEXT_WIDTH = 24  # three heads


def tiny_vae(scaling_factor: float = 1.0) -> AutoencoderKL:
    """An untrained autoencoder of 128 x 128 pictures with few channels: the same weights each time."""
    with torch.random.fork_rng(), patch.object(training_vae, "CHANNELS", CHANNELS):
        torch.manual_seed(0)
        vae = training_vae.build_vae()
    vae.register_to_config(scaling_factor=scaling_factor)
    return vae.eval().requires_grad_(False)


def averaged(task: Task, checkpoint: Path) -> dict[str, nn.Module]:
    """The task's own networks with the averaged weights of a checkpoint, in full precision."""
    networks = {name: network.eval().requires_grad_(False) for name, network in task.networks().items()}
    tensors = load_file(checkpoint)
    for name, network in networks.items():
        prefix = f"averaged/{name}/"
        network.load_state_dict({key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)})
    return networks
