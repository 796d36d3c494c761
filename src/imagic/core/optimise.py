"""Adam (Kingma & Ba, 2015) as a generator: one update per turn, the loss handed out.

Gradients reach the given parameters and nothing else, so that a frozen stage cannot leak into the next one. The
optimiser's moments live and die with the generator, but for what a checkpoint keeps of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imagic.core.checkpoint import Checkpoint, Stage
from imagic.core.errors import OptionError


@dataclass(frozen=True)
class Rated:
    """Parameters (leaves that require gradients) and their learning rate."""

    parameters: Sequence[Tensor]
    learning_rate: float


def minimise(
    objective: Callable[[int], Tensor | Iterable[Tensor]],
    groups: Sequence[Rated],
    num_steps: int,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    stage: Stage | None = None,
    *,
    cooldown: float = 0.0,
) -> Generator[float, None, None]:
    """Up to `num_steps` Adam updates of `groups`, in place; yields the loss before each update, after making it.

    objective: step (from 0) -> scalar loss, or the parts that add up to it, each made when the one before it has been
    used up. Closing the generator stops early; either way no gradient is left behind. stage: begins where that stands,
    and holds parameters and moments; saying what is `reached` is left to the caller. cooldown: the share of the steps,
    the last ones, in which the learning rates fall evenly to zero.
    Raises OptionError when the loss is no longer a number.
    """
    stage = stage or Checkpoint().stage("")
    parameters = [parameter for group in groups for parameter in group.parameters]
    optimizer = torch.optim.Adam(
        [{"params": list(group.parameters), "lr": group.learning_rate} for group in groups], betas=betas, eps=eps
    )
    _restore(parameters, optimizer, stage.tensors)
    stage.holds(lambda: _state(parameters, optimizer))
    try:
        for step in range(stage.step, stage.step if stage.finished else num_steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.enable_grad():
                value = _descend(objective(step), parameters)
            check_finite(value, stage.name, step + 1, num_steps)
            stage.changing()
            for group, own in zip(groups, optimizer.param_groups, strict=True):
                own["lr"] = group.learning_rate * cooled(step, num_steps, cooldown)
            optimizer.step()
            yield value
    finally:
        optimizer.zero_grad(set_to_none=True)


def cooled(step: int, num_steps: int, cooldown: float) -> float:
    """The share of the learning rate at a step (from 0): 1, and over the last steps evenly down to zero.

    cooldown: the share of the steps in which it falls.
    """
    return min(1.0, (num_steps - step) / max(cooldown * num_steps, 1))


def check_finite(loss: float, stage: str, step: int, num_steps: int) -> None:
    """Raises OptionError for a loss that is no longer a number. stage: its name, or empty."""
    if not math.isfinite(loss):
        what = f"The stage '{stage}'" if stage else "The optimisation"
        raise OptionError(f"{what} diverged at step {step} of {num_steps}: use a lower learning rate.")


def _descend(loss: Tensor | Iterable[Tensor], parameters: Sequence[Tensor]) -> float:
    """The loss, whose gradient is left in the parameters; the first part that is no number, where there is one."""
    total = 0.0
    for part in [loss] if isinstance(loss, Tensor) else loss:
        value = float(part.detach())
        if not math.isfinite(value):
            return value
        part.backward(inputs=parameters)
        del part  # frees the graph before the next part is made
        total += value
    return total


def _state(parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters, moments and counts of updates, by the number of the parameter."""
    values = {f"{number}.value": parameter for number, parameter in enumerate(parameters)}
    kept = optimizer.state_dict()["state"]
    return values | {f"{number}.{kind}": value for number, own in kept.items() for kind, value in own.items()}


def _restore(parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer, found: Mapping[str, Tensor]) -> None:
    """Puts back what `_state` gave; nothing where there is nothing."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in found.items():
        number, _, kind = name.partition(".")
        if kind == "value":
            with torch.no_grad():
                parameters[int(number)].copy_(tensor)
        elif number.isdecimal():
            state.setdefault(int(number), {})[kind] = tensor
    if state:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
