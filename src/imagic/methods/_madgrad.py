"""MADGRAD (Defazio & Jelassi, JMLR 2022): dual averaging whose steps shrink with the cube root of summed squares."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from imagic.core.checkpoint import Checkpoint, Stage

EPSILON = 1e-6
MOMENTUM = 0.9


class Madgrad:
    """Algorithm 1 over leaves with gradients: s += l g, v += l g^2, z = x_0 - s / (v^(1/3) + eps), and x goes a tenth
    of the way to z, where l = rate * sqrt(k + 1) in step k. stage: begins where that stands, and holds parameters and
    sums; saying what is `reached` is left to the caller."""

    def __init__(self, parameters: Iterable[Tensor], stage: Stage | None = None) -> None:
        stage = stage or Checkpoint().stage("")
        self.parameters = list(parameters)
        self.step_number = stage.step
        with torch.no_grad():
            self._start = [p.clone() for p in self.parameters]
            self._sum = [torch.zeros_like(p) for p in self.parameters]
            self._squares = [torch.zeros_like(p) for p in self.parameters]
            for name, tensor in self.tensors().items():
                if name in stage.tensors:
                    tensor.copy_(stage.tensors[name])
        stage.holds(self.tensors)

    def tensors(self) -> dict[str, Tensor]:
        """What changes from step to step, by the number of the parameter, and where each began."""
        kinds = {"value": self.parameters, "start": self._start, "sum": self._sum, "squares": self._squares}
        return {f"{number}.{kind}": tensor for kind, own in kinds.items() for number, tensor in enumerate(own)}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update by the gradients, which are then dropped."""
        weight = learning_rate * (self.step_number + 1) ** 0.5
        for p, start, total, squares in zip(self.parameters, self._start, self._sum, self._squares, strict=True):
            if p.grad is None:
                continue
            total.add_(p.grad, alpha=weight)
            squares.addcmul_(p.grad, p.grad, value=weight)
            root = squares.pow(1 / 3).add_(EPSILON)
            p.lerp_(start.addcdiv(total, root, value=-1), 1 - MOMENTUM)
            p.grad = None
        self.step_number += 1
