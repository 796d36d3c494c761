"""Between a fitted and a target text where a source text says what the input shows: the edit first, then the rest.

Interpolation (Imagic, Eq. 3) lets what makes the input this picture fade as the edit comes. With a source text the two
can be told apart: the edit is what the target says otherwise than the source, e_tgt - e_src, and the picture is what
the fit found beyond the source, e_opt - e_src. So the edit may come before anything fades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imagic.core.conditioning import Conditioning
from imagic.core.words_first import WORDS_LEAD, words_first


def difference_first(
    fitted: Conditioning,
    source: Conditioning,
    target: Conditioning,
    etas: Sequence[float],
    words: int | None,
    lead: float = WORDS_LEAD,
) -> Conditioning:
    """One row per eta, from one row each: e_opt at eta 0, e_opt + e_tgt - e_src at 1/2, e_tgt at 1, all exactly.

    Either half goes as core.words_first does; words, lead: as there.
    """
    halfway = _moved_alike(fitted, source, target)
    return Conditioning.cat(
        [
            words_first(fitted, halfway, [2 * eta], words, lead)
            if eta <= 0.5
            else words_first(halfway, target, [2 * eta - 1], words, lead)
            for eta in etas
        ]
    )


def _moved_alike(fitted: Conditioning, source: Conditioning, target: Conditioning) -> Conditioning:
    """e_opt + e_tgt - e_src, one row each; facts as the target's."""
    before, after = source.matched(target, 1)
    start, _ = fitted.matched(after, 1)  # as long as the source, where it began
    moved = {name: start.tensors[name] + (after.tensors[name] - before.tensors[name]) for name in after.learnable}
    return replace(after, tensors={**after.tensors, **moved})
