"""The facts of scenes as classes to learn: a reader of them, and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.scenes import Scene

READER = "fact_reader"  # the name of one that is trained beside a model, and not exported


class FactReader(nn.Module):
    """Reads the facts from a network's features, linearly: it trains the network, and is then left behind."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.facts = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in FACTS.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Logits (B, values) per fact, from features (B, width)."""
        features = self.norm(features.float())
        return {name: read(features) for name, read in self.facts.items()}


def labels(scenes: Sequence[Scene], device: torch.device | str) -> dict[str, Tensor]:
    """The index of each fact's value: name -> (B,)."""
    found = [facts(scene) for scene in scenes]
    return {
        name: torch.tensor([values.index(fact[name]) for fact in found], device=device)
        for name, values in FACTS.items()
    }


def reading_loss(logits: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """The mean cross-entropy over the facts: name -> (B, values) and name -> (B,)."""
    return torch.stack([F.cross_entropy(logits[name], wanted[name]) for name in FACTS]).mean()
