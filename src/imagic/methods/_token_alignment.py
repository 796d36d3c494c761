"""Which positions of two texts belong together (Prompt-to-Prompt, Hertz et al. 2022, Sec. 3.2).

*Replace* swaps words one for one; *refine* keeps what both texts have, in order, and lets new words be. An alignment is
a matrix that turns attention over the source's positions into attention over the target's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imagic.core.errors import OptionError
from imagic.core.wording import Wording


@dataclass(frozen=True)
class Alignment:
    """matrix: (source positions, target positions); column j says where target position j takes its attention from.
    shared: (target positions,), 1 where there is such a place, 0 where the position keeps its own attention."""

    matrix: Tensor
    shared: Tensor


def align(source: Wording, target: Wording, kind: str) -> Alignment:
    """kind: "replace", "refine", or "auto", which replaces where both texts have the same number of words.

    Raises OptionError where words cannot be swapped one for one.
    """
    same_count = len(source.words()) == len(target.words())
    if kind == "replace" or (kind == "auto" and same_count):
        return replace_words(source, target)
    return refine(source, target)


def replace_words(source: Wording, target: Wording) -> Alignment:
    """Word i of the target takes the attention of word i of the source; where they have different numbers of tokens,
    each token of the target an equal share of the whole."""
    before, after = source.words(), target.words()
    if len(before) != len(after):
        raise OptionError(
            f"The texts have {len(before)} and {len(after)} words, which cannot be swapped one for one: use alignment "
            "'refine', or texts of equally many words."
        )
    alignment = _around(source, target)
    for old, new in zip(before, after, strict=True):
        if len(old) == len(new):
            alignment.matrix[old, new] = 1
        else:
            for position in new:
                alignment.matrix[old, position] = 1 / len(new)
        alignment.shared[new] = 1.0 if old else 0.0
    return alignment


def refine(source: Wording, target: Wording) -> Alignment:
    """Tokens that both texts have in the same order share their attention; the others of the target keep their own."""
    before, after = ([token.piece for token in text.tokens[: text.end + 1]] for text in (source, target))
    alignment = _around(source, target)
    for old, new in common_subsequence(before, after):
        alignment.matrix[old, new] = 1
        alignment.shared[new] = 1
    return alignment


def common_subsequence(source: Sequence[str], target: Sequence[str]) -> list[tuple[int, int]]:
    """The pairs (i, j) of a longest common subsequence, the earliest where several are equally long.

    It is the best Needleman-Wunsch alignment under the scores of the authors' code: 1 for a match, -1 for a mismatch,
    0 for a gap, so that a mismatch never beats two gaps.
    """
    rows, columns = len(source), len(target)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]  # best[i][j]: matches between source[i:] and target[j:]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            matched = best[i + 1][j + 1] + 1 if source[i] == target[j] else 0
            best[i][j] = max(matched, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < rows and j < columns:
        if source[i] == target[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _around(source: Wording, target: Wording) -> Alignment:
    """The marks and the padding: the k-th position after the end mark takes that of the k-th after the source's, the
    last position where the source has no more. All between the marks is left open."""
    before, after = len(source.tokens), len(target.tokens)
    matrix, shared = torch.zeros(before, after), torch.zeros(after)
    for position in (0, *range(target.end, after)):
        matrix[min(source.end + position - target.end, before - 1) if position else 0, position] = 1
        shared[position] = 1
    return Alignment(matrix, shared)
