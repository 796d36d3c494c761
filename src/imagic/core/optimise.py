"""Adam (Kingma & Ba, 2015) as a generator: one update per turn, the loss handed out.

Gradients reach the given parameters and nothing else, so that a frozen stage cannot leak into the next one; the
optimiser's moments live and die with the generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imagic.core.errors import OptionError


@dataclass(frozen=True)
class Rated:
    """Parameters (leaves that require gradients) and their learning rate."""

    parameters: Sequence[Tensor]
    learning_rate: float


def minimise(
    objective: Callable[[int], Tensor],
    groups: Sequence[Rated],
    num_steps: int,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Generator[float, None, None]:
    """Up to `num_steps` Adam updates of `groups`, in place; yields the loss before each update, after making it.

    objective: step (from 0) -> scalar loss. Closing the generator stops early; either way no gradient is left behind.
    Raises OptionError when the loss is no longer a number.
    """
    parameters = [parameter for group in groups for parameter in group.parameters]
    optimizer = torch.optim.Adam(
        [{"params": list(group.parameters), "lr": group.learning_rate} for group in groups], betas=betas, eps=eps
    )
    try:
        for step in range(num_steps):
            with torch.enable_grad():
                loss = objective(step)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise OptionError(f"The optimisation diverged at step {step + 1}: use a lower learning rate.")
            optimizer.zero_grad(set_to_none=True)
            loss.backward(inputs=parameters)  # type: ignore[no-untyped-call]
            optimizer.step()
            del loss  # frees the graph before the caller's turn
            yield value
    finally:
        optimizer.zero_grad(set_to_none=True)
