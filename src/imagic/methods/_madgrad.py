"""MADGRAD (Defazio & Jelassi, JMLR 2022): dual averaging whose steps shrink with the cube root of summed squares."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

EPSILON = 1e-6
MOMENTUM = 0.9


class Madgrad:
    """Algorithm 1 over leaves with gradients: s += l g, v += l g^2, z = x_0 - s / (v^(1/3) + eps), and x goes a tenth
    of the way to z, where l = rate * sqrt(k + 1) in step k."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        self.step_number = 0
        with torch.no_grad():
            self._start = [p.clone() for p in self.parameters]
            self._sum = [torch.zeros_like(p) for p in self.parameters]
            self._squares = [torch.zeros_like(p) for p in self.parameters]

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
