"""The facts of scenes as classes to learn, and the loss of reading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.augment import MIRRORED


def labels(
    scenes: Sequence[Scene], device: torch.device | str, mirrored: Sequence[bool] | None = None
) -> dict[str, Tensor]:
    """The index of each fact's value, as the pictures show it: name -> (B,). A mirrored animal faces the other way."""
    found = [facts(scene) for scene in scenes]
    for fact, turned in zip(found, mirrored or [False] * len(found), strict=True):
        if turned:
            fact["facing"] = MIRRORED.get(fact["facing"], fact["facing"])
    return {
        name: torch.tensor([values.index(fact[name]) for fact in found], device=device)
        for name, values in FACTS.items()
    }


def reading_loss(logits: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """The mean cross-entropy over the facts: name -> (B, values) and name -> (B,)."""
    return torch.stack([F.cross_entropy(logits[name], wanted[name]) for name in FACTS]).mean()
