"""Success of an edit: what was asked is there, all else is kept, and it is still the same individual.

Each fact is read from the pictures by the judge and compared with the facts of the true edit:

- A fact is *asked* if it differs between the input's facts and the truth's; the others are to be *kept*.
- A fact *counts* only if the judge reads it correctly from the true edit itself: where the judge errs on the truth, its
  reading cannot be held against an edit. The reading of the input after the model's image coder (encoded and decoded,
  no edit) is kept beside it, so that losses of the coder can be told from losses of the edit; it excuses nothing.
- `asked`: every counting asked fact reads from the result as in the truth. `kept`: the same for every other counting
  fact. `likeness`: how alike the judge finds the individuals of the result and of the truth, a cosine; `individual`:
  whether that is the same one.
- `success` is all three. Where no asked fact counts, the edit cannot be judged: `asked` and `success` are None. Where
  no truth is known, all five are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imagic.bench.types import Item, Judge


@dataclass(frozen=True)
class FactReading:
    """A fact as the scene has it and as the judge reads it; None for a fact that the judge does not read."""

    asked: bool
    counts: bool
    source: str
    truth: str
    read_truth: str | None
    read_roundtrip: str | None
    read_result: str | None


@dataclass(frozen=True)
class Verdict:
    success: bool | None
    asked: bool | None
    kept: bool | None
    individual: bool | None
    likeness: float | None
    facts: Mapping[str, FactReading]


UNKNOWN = Verdict(None, None, None, None, None, {})


def judge_images(
    judge: Judge | None, item: Item, truth: Tensor | None, roundtrip: Tensor, results: Sequence[Tensor]
) -> list[Verdict]:
    """One verdict per result; UNKNOWN without a judge.

    truth: the true edit; roundtrip: the input encoded and decoded by the model. Images are (3, S, S) in [-1, 1]. Raises
    ValueError for a judge without a truth.
    """
    if judge is None:
        return [UNKNOWN] * len(results)
    if truth is None:
        raise ValueError(f"the item {item.name} has a judge, but no true edit")
    images = torch.stack([image.to(truth.device) for image in (truth, roundtrip, *results)])
    read_truth, read_roundtrip, *readings = judge.read(images)
    alike = judge.likeness(images[2:], truth.expand(len(results), *truth.shape)).tolist()
    return [
        _verdict(item, read_truth, read_roundtrip, reading, likeness, likeness > judge.threshold)
        for reading, likeness in zip(readings, alike, strict=True)
    ]


def _verdict(
    item: Item,
    read_truth: Mapping[str, str],
    read_roundtrip: Mapping[str, str],
    read_result: Mapping[str, str],
    likeness: float,
    individual: bool,
) -> Verdict:
    facts = {
        name: FactReading(
            asked=item.source_facts[name] != truth,
            counts=read_truth.get(name) == truth,
            source=item.source_facts[name],
            truth=truth,
            read_truth=read_truth.get(name),
            read_roundtrip=read_roundtrip.get(name),
            read_result=read_result.get(name),
        )
        for name, truth in item.truth_facts.items()
    }
    counting = [fact for fact in facts.values() if fact.counts]
    reached = [fact.read_result == fact.truth for fact in counting if fact.asked]
    kept = all(fact.read_result == fact.truth for fact in counting if not fact.asked)
    asked = all(reached) if reached else None
    success = None if asked is None else asked and kept and individual
    return Verdict(success, asked, kept, individual, likeness, facts)
