"""Between a fitted and a target text: Imagic's interpolation, in which words may run ahead of the padding after them.

What is asked for stands in the words of the target; what makes the input this picture no word says, and a fitted text
keeps it in the padding as well. Words that arrive early bring the edit while more of that is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from imagic.core.conditioning import Conditioning
from imagic.core.types import Ability, Backbone
from imagic.core.wording import Wording

# Words are at the target half way.
WORDS_LEAD = 2.0


def before_padding(backbone: Backbone, texts: Sequence[str]) -> int | None:
    """Positions that any of the texts has a word or a mark at; None where the model does not tell its tokens."""
    if Ability.CROSS_ATTENTION not in backbone.abilities:
        return None
    return max(Wording.of(backbone, text).end for text in texts) + 1


def words_first(
    fitted: Conditioning, target: Conditioning, etas: Sequence[float], words: int | None, lead: float = WORDS_LEAD
) -> Conditioning:
    """One row per eta, from one row each. At eta 0 exactly the fitted text and at eta 1 exactly the target.

    words: the positions that reach the target at 1 / lead, as do vectors that stand for the whole text; None for a
    text that goes as one (Imagic, Eq. 3).
    """
    weights = torch.tensor(etas, dtype=torch.float64)
    together = fitted.lerp(target, weights)
    if words is None:
        return together
    ahead = fitted.lerp(target, torch.maximum((lead * weights).clamp(max=1), weights))
    tensors = dict(ahead.tensors)
    for name in ahead.learnable:
        if tensors[name].dim() == 3:
            tensors[name] = torch.cat([tensors[name][:, :words], together.tensors[name][:, words:]], dim=1)
    return replace(ahead, tensors=tensors)
