"""Gradient checkpointing (Chen et al. 2016) where the memory would not do without: what the backward pass needs of a
network is then computed again there, not kept, for about a third more time and the same numbers.

Whether it would do is measured: what autograd keeps for one row and for two, beside the free memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.multiprocessing import reductions

from imagic.core.types import Backbone

StorageWeakRef: Any = reductions.StorageWeakRef  # without types

# The gradients on their way, and what allocators waste.
SLACK = 1.25
# Of the gradient and Adam's two moments, for each number under tuning.
BYTES_PER_PARAMETER = 12

log = logging.getLogger("imagic.memory")


@contextmanager
def as_memory_allows(
    backbone: Backbone, name: str, loss: Callable[[int], Tensor], rows: int, parameters: Sequence[Tensor]
) -> Iterator[None]:
    """Within: gradients of the stage `name` fit into the free memory, by `backbone.recomputing` where they would not
    otherwise, of which a line of the log tells.

    loss: of so many rows, with its graph; called with 1, and with 2 where `rows` is more. rows: through the network at
    once. parameters: those under tuning.
    """
    if not parameters:
        yield
        return
    one = kept_bytes(partial(loss, 1))
    # What rows share, such as weights in a lower precision, counts once.
    kept = one if rows == 1 else one + (rows - 1) * (kept_bytes(partial(loss, 2)) - one)
    needed = SLACK * kept + BYTES_PER_PARAMETER * sum(parameter.numel() for parameter in parameters)
    free = free_bytes(backbone.device)
    if needed <= free:
        yield
        return
    log.warning(
        "The stage '%s' would need %.1f GiB, and %.1f are free: what its gradients need is computed again, not kept,"
        " which takes about a third longer.",
        name,
        needed / 2**30,
        free / 2**30,
    )
    with backbone.recomputing():
        yield


def free_bytes(device: torch.device) -> int:
    """What tensors may still fill on a device, with what torch holds there in reserve."""
    if device.type in ("cuda", "xpu"):
        accelerator = torch.cuda if device.type == "cuda" else torch.xpu
        held = accelerator.memory_reserved(device) - accelerator.memory_allocated(device)
        return int(accelerator.mem_get_info(device)[0]) + int(held)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    return int(psutil.virtual_memory().available)


def kept_bytes(forward: Callable[[], Tensor]) -> int:
    """The bytes that a backward pass after `forward` would read and that die with it: activations, but not weights.
    Nothing is kept to find that out."""
    sizes: dict[Any, int] = {}

    def note(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        sizes[StorageWeakRef(storage)] = storage.nbytes()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, _never):
        forward()
    return sum(size for storage, size in sizes.items() if storage.expired())


def _never(noted: None) -> Tensor:
    raise AssertionError("a backward pass through a graph that kept nothing")
