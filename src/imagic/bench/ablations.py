"""The ablations of Imagic (Kawar et al. 2023) as named variants: a preset with some options changed.

What the paper found: without fine-tuning eta 0 does not reconstruct; with ten steps of embedding optimisation no edit
is possible; a thousand are no better than a hundred (its counts; the curves over eta come from the sweep of any run).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Variant:
    """Options of a method that differ from a preset ("" for the defaults)."""

    method: str
    preset: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] = field(default_factory=dict)
    with_source_text: bool = False


# Every tenth of eta at full quality, so that the curves of different variants can be compared.
SWEEP: Mapping[str, Any] = MappingProxyType({"candidates": 11, "search_steps": 30, "num_steps": 30})

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "imagic-paper": Variant("imagic", "paper"),
        "imagic-fast": Variant("imagic", "fast"),
        "imagic-eta-0.7": Variant("imagic", "fast", edit={"eta": 0.7}),
        "imagic-source-text": Variant("imagic", "fast", with_source_text=True),
        "imagic-no-finetune": Variant("imagic", "paper", {"network_steps": 0}, SWEEP),
        "imagic-embedding-10": Variant("imagic", "paper", {"embedding_steps": 10}, SWEEP),
        "imagic-embedding-100": Variant("imagic", "paper", {"embedding_steps": 100}, SWEEP),
        "imagic-embedding-1000": Variant("imagic", "paper", {"embedding_steps": 1000}, SWEEP),
    }
)
