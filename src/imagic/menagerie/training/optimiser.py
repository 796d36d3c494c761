"""Muon for the matrices inside a network, AdamW for the rest.

Muon (Jordan et al. 2024) steps along the orthogonalised momentum; with Moonshot's scaling (arXiv 2502.16982) it takes
AdamW's learning rates. torch's Muon accepts matrices only, so a convolution is given to it as the matrix
(out, in * height * width) that shares its memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

WEIGHT_DECAY = 0.01
ADAM_BETAS = (0.9, 0.99)
EDGE_WIDTH = 16  # layers with fewer inputs or outputs than this are in- and outlets, not matrices to orthogonalise


class Optimiser:
    """Steps the parameters of a few modules, and shows its state as named tensors for checkpoints."""

    def __init__(self, modules: Iterable[nn.Module], learning_rate: float) -> None:
        self.matrices: list[tuple[nn.Parameter, nn.Parameter]] = []  # (parameter, its matrix view)
        others = []
        for module in modules:
            inside = _hidden_weights(module)
            for parameter in module.parameters():
                if id(parameter) in inside:
                    self.matrices.append((parameter, nn.Parameter(parameter.data.flatten(1))))
                else:
                    others.append(parameter)
        views = [view for _, view in self.matrices]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, learning_rate, ADAM_BETAS, weight_decay=WEIGHT_DECAY, fused=True)
        ]
        if views:
            self.parts.append(
                torch.optim.Muon(views, learning_rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
            )
        self.parameters = [*others, *(parameter for parameter, _ in self.matrices)]

    def step(self, learning_rate: float, clip: float) -> float:
        """One step; gradients are scaled to a norm of at most `clip`, then dropped. Returns their norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        for parameter, view in self.matrices:
            view.grad = None if parameter.grad is None else parameter.grad.reshape(view.shape)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
        for parameter, view in self.matrices:
            parameter.grad = view.grad = None
        for part in self.parts:
            part.zero_grad(set_to_none=True)
        return float(norm)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the optimisers' state, named by optimiser, parameter and kind."""
        return {
            f"{index}.{number}.{kind}": value
            for index, part in enumerate(self.parts)
            for number, entry in part.state_dict()["state"].items()
            for kind, value in entry.items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        for index, part in enumerate(self.parts):
            found: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                owner, number, kind = name.split(".", 2)
                if int(owner) == index:
                    found.setdefault(int(number), {})[kind] = value
            part.load_state_dict({"state": found, "param_groups": part.state_dict()["param_groups"]})


def _hidden_weights(module: nn.Module) -> set[int]:
    """Weights of the linear and convolution layers inside a network, by identity."""
    return {
        id(layer.weight)
        for layer in module.modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
        and layer.weight.is_contiguous()
        and min(layer.weight.shape[0], layer.weight[0].numel()) >= EDGE_WIDTH
    }
