"""The ablations of the papers: variants, each a preset with some options changed, and experiments that compare some.

Imagic (Kawar et al. 2023) found: without fine-tuning eta 0 does not reconstruct; with ten steps of embedding
optimisation no edit is possible; a thousand are no better than a hundred (its counts; the curves over eta come from the
sweep of any run).
DiffEdit (Couairon et al. 2023) found: without its mask, as without its encoding, the same alignment costs more distance
to the input (run both with a sweep over strengths to see it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from imagic.core.errors import OptionError


@dataclass(frozen=True)
class Variant:
    """Options of a method that differ from a preset ("" for the defaults). strength: as in types.Entry."""

    method: str
    preset: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] = field(default_factory=dict)
    with_source_text: bool = False
    strength: float | None = None


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
        # The same defaults as DiffEdit's: strength 0.8, guidance 7.5, 50 steps.
        "diffedit-no-mask": Variant("encode_decode"),
    }
)

# What each runs; the first is what the others are compared with. A thousand steps are the paper preset's own.
EXPERIMENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "imagic-no-finetune": ("imagic-embedding-1000", "imagic-no-finetune"),
        "imagic-embedding-steps": ("imagic-embedding-1000", "imagic-embedding-100", "imagic-embedding-10"),
        "diffedit-no-mask": ("diffedit", "diffedit-no-mask"),
        "diffedit-no-encode": ("diffedit", "diffedit-no-encode"),
    }
)


def experiment(name: str) -> tuple[str, ...]:
    """The names, for `catalogue.entries`, of what the experiment compares. Raises OptionError for an unknown one."""
    if name not in EXPERIMENTS:
        raise OptionError(f"Unknown ablation '{name}': choose one of {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]
