"""Where the parts of a model lie and in which precision, and how a part that waits on the CPU comes to its use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn

# The largest network that an accelerator gets in float32 unless asked for: 4 GB, which full tuning makes 16.
FLOAT32_PARAMETERS = 10**9


@dataclass(frozen=True)
class Place:
    """Where a model runs and in which dtype. offload: parts that are used now and then wait on the CPU."""

    device: torch.device
    dtype: torch.dtype
    offload: bool = False

    @staticmethod
    def of(network: nn.Module, device: torch.device | str, dtype: torch.dtype | None, offload: bool) -> Place:
        """The place of a model with this network. dtype: None for the default."""
        device = torch.device(device)
        return Place(device, dtype or default_dtype(network, device), offload)

    def settle(self, module: nn.Module, *, dtype: torch.dtype | None = None, stays: bool = False) -> None:
        """Freeze a part, cast it and move it to where it waits. A quantised one is left as it was loaded.

        dtype: another than the place's. stays: on the device, whatever `offload` says.
        """
        module.requires_grad_(False).eval()
        if _quantised(module):
            return
        _cast(module, dtype or self.dtype)
        module.to("cpu" if self.offload and not stays else self.device)

    @contextmanager
    def using(self, module: nn.Module) -> Iterator[None]:
        """Within: a settled part is on the device."""
        if not self.offload or _quantised(module):
            yield
            return
        module.to(self.device)
        try:
            yield
        finally:
            module.to("cpu")


def default_device() -> torch.device:
    """The accelerator that torch finds (CUDA, XPU, MPS), else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if found is None else found


def default_dtype(network: nn.Module, device: torch.device) -> torch.dtype:
    """float32, and on an accelerator bfloat16 for a network of more than FLOAT32_PARAMETERS."""
    large = sum(p.numel() for p in network.parameters()) > FLOAT32_PARAMETERS
    return torch.bfloat16 if large and device.type != "cpu" else torch.float32


def default_autocast(device: torch.device) -> torch.dtype | None:
    """The precision in which fitting multiplies: bfloat16 on a CPU that has instructions for it (others emulate it,
    slowly), else none."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if device.type == "cpu" and native else None


def _quantised(module: nn.Module) -> bool:
    return getattr(module, "hf_quantizer", None) is not None


def _cast(module: nn.Module, dtype: torch.dtype) -> None:
    """As `module.to(dtype)`, but in half precision without the layers that overflow there, which a model of
    transformers or diffusers names (T5's feed-forward outputs)."""
    kept = tuple(getattr(module, "_keep_in_fp32_modules", None) or ()) if dtype == torch.float16 else ()
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if set(kept) & set(name.split(".")) else dtype)
