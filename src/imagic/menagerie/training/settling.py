"""Helpers that an exported model lacks are learned first, with the rest held.

A model that learned from random ones would unlearn what it had been told through those that it was trained with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from imagic.menagerie.training.loop import Task


class Settling:
    """A task in which only the networks named `missing` are trained; the others are held as they are."""

    def __init__(self, task: Task, missing: Collection[str], device: torch.device | str = "cpu") -> None:
        self.task, self.missing, self.name = task, missing, f"{task.name}-settling"
        for name, network in task.networks().items():
            network.to(device).requires_grad_(name in missing)

    def networks(self) -> Mapping[str, nn.Module]:
        return {name: network for name, network in self.task.networks().items() if name in self.missing}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return self.task.loss(step, batch, noise)

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        return self.task.sheet({**self.task.networks(), **networks})

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        """The run is over: all networks may be trained again. There is nothing to ship."""
        for network in self.task.networks().values():
            network.requires_grad_(True)
