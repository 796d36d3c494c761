"""Memory that runs out: told from other errors, and met once with smaller batches."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from imagic.core.errors import OutOfMemory

T = TypeVar("T")

# What torch raises: its own error on GPUs, a RuntimeError with such a text on a CPU and on Apple's GPUs.
TEXTS = ("out of memory", "can't allocate memory", "not enough memory")
ADVICE = "close other programs, or use a smaller model, the dtype bfloat16 or offloading"


def ran_out(error: BaseException) -> bool:
    """Whether the error says that memory ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in TEXTS)


def with_less_memory(work: Callable[[Any], T], options: Any, name: str) -> tuple[T, tuple[str, ...]]:
    """What `work` makes of the options, and sentences on what was changed.

    Where memory runs out it is tried once more with the option `name`, how much goes through the network at once, at 1,
    if there is such an option and it is not 1 already. Raises OutOfMemory when that does not help.
    """
    try:
        return work(options), ()
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        if getattr(options, name, 1) == 1:
            raise OutOfMemory(f"Memory ran out, and nothing can be done in smaller batches: {ADVICE}.") from error
    # Outside of the handler, whose traceback would hold on to what filled the memory.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        made = work(dataclasses.replace(options, **{name: 1}))
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(f"Memory ran out, also with {name} 1: {ADVICE}.") from error
    return made, (f"Memory ran out, so it was done with {name} 1; give that option to save the first attempt.",)
