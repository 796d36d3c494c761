"""Scores of the bundled model on held-out scenes, whose facts are known.

The judge is scored by what it reads from renders; the autoencoder by what is left of them after its round trip, in dB
and as the judge reads it; the generations by whether they show what their captions name.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from imagic.core.cascade import paint_each
from imagic.core.sampling import Sampler, sample
from imagic.core.seeds import initial_noise
from imagic.core.types import Backbone, Progress
from imagic.menagerie.captions import caption_with_facts
from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.judge import Judge, check_side
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.training.world import VIEWS, draw, stranger, trio

GUIDANCE_SCALES = (1.5, 2.0, 3.0, 4.0, 5.0)
CHUNK = 60  # pictures at once; whole trios

ALL, EACH = "all", "each"
READS, KEEPS = "judge reads", "round trip keeps"
HARD_TRIPLETS = "judge tells pictures of one from another in its place"
EASY_TRIPLETS = "judge tells pictures of one from any of its species and colour"
INDIVIDUAL, PSNR = "round trip keeps the individual", "round trip PSNR"
SHARE, DECIBEL = "share", "dB"

T = TypeVar("T")


@dataclass(frozen=True)
class Score:
    """One measured number, a mean.

    name: what was measured. fact: for which fact; "each" for all facts together, "all" for pictures in which every one
    is right and for what has no facts. value: a share in [0, 1], or dB as `unit` says. count: over how many answers.
    guidance_scale: of generations.
    """

    name: str
    fact: str
    value: float
    count: int
    unit: str = SHARE
    guidance_scale: float | None = None


def score(
    backbone: Backbone,
    judge: Judge,
    count: int,
    guidance_scales: Sequence[float] = GUIDANCE_SCALES,
    num_steps: int = 20,
) -> Generator[Progress, None, list[Score]]:
    """Everything below: the reading of `count` held-out scenes, their round trip, and `count` generations per scale.

    Raises ModelError for a model of pictures that the judge cannot read.
    """
    check_side(backbone.image_size)
    scores = yield from _counted("held-out scenes", count, _reading(judge, backbone, count))
    for scale in guidance_scales:
        work = score_generations(backbone, judge, count, scale, num_steps)
        scores += yield from _counted(f"generations, guidance {scale:g}", count, work)
    return scores


def _reading(judge: Judge, backbone: Backbone, count: int) -> Generator[int, None, list[Score]]:
    """How often the judge reads each fact of `count` held-out renders (in trios) and tells individuals apart; the PSNR
    of the autoencoder's round trip, and how often facts and individual survive it. Yields how many scenes are done."""
    tally = _Tally()
    trios = max(1, count // VIEWS)
    for first in range(0, trios, CHUNK // VIEWS):
        seeds = range(first, min(first + CHUNK // VIEWS, trios))
        scenes = [scene for seed in seeds for scene in trio(seed, held_out=True)]
        images = draw(scenes)
        read = judge.read(images)
        tally.compare(READS, read, [facts(scene) for scene in scenes])
        one, two, other = judge.embed(images).view(len(seeds), VIEWS, -1).unbind(1)
        alike = [stranger(scene, seed, held_out=True) for scene, seed in zip(scenes[::VIEWS], seeds, strict=True)]
        near = (one * two).sum(1)
        tally.add(HARD_TRIPLETS, ALL, (near > (one * other).sum(1)).tolist())
        tally.add(EASY_TRIPLETS, ALL, (near > (one * judge.embed(draw(alike))).sum(1)).tolist())
        with torch.no_grad():
            back = backbone.decode(backbone.encode(images.to(backbone.device))).cpu()
        tally.add(PSNR, ALL, [_psnr(a, b) for a, b in zip(images, back, strict=True)])
        tally.compare(KEEPS, judge.read(back), read)
        tally.add(INDIVIDUAL, ALL, (judge.likeness(images, back) > judge.threshold).tolist())
        yield VIEWS * seeds.stop
    return tally.scores()


def score_generations(
    backbone: Backbone, judge: Judge, count: int, guidance_scale: float, num_steps: int = 20
) -> Generator[int, None, list[Score]]:
    """How often a generation shows what its caption names, fact by fact; yields how many pictures are done."""
    name = f"generation agrees (guidance {guidance_scale:g})"
    tally = _Tally()
    captions = held_out_captions(count)
    for first in range(0, count, CHUNK):
        chunk = captions[first : first + CHUNK]
        seeds = range(first, first + len(chunk))
        images = generate(backbone, [text for text, _ in chunk], seeds, guidance_scale, num_steps)
        tally.compare(name, judge.read(images.cpu()), [named for _, named in chunk])
        yield seeds.stop
    return tally.scores(guidance_scale)


def held_out_captions(count: int) -> list[tuple[str, dict[str, str]]]:
    """Captions of held-out scenes, and the facts that each names; the first ones are the same for any count."""
    rng = np.random.default_rng(0)
    return [caption_with_facts(sample_scene(seed, held_out=True), rng) for seed in range(count)]


def generate(
    backbone: Backbone,
    texts: Sequence[str],
    seeds: Sequence[int],
    guidance_scale: float,
    num_steps: int,
    sampler: Sampler = Sampler.DPMPP_2M,
) -> Tensor:
    """One picture per text and seed: (N, 3, S, S) in [-1, 1], on the backbone's device; painted, by a cascade."""
    blank = torch.zeros(1, 3, backbone.image_size, backbone.image_size, device=backbone.device)
    with torch.no_grad():
        start = initial_noise(tuple(backbone.encode(blank).shape[1:]), seeds, backbone.device)
        conditioning, null = backbone.encode_text(texts), backbone.encode_text([""])
        schedule = backbone.schedule(num_steps)
        z = _result(sample(backbone, start, schedule, conditioning, null, guidance_scale, sampler))
        return _result(paint_each(backbone, z, conditioning, seeds))


def best_guidance(scores: Iterable[Score]) -> float | None:
    """The guidance scale at which generations agree best over each fact; None without generations."""
    generations = [each for each in scores if each.guidance_scale is not None and each.fact == EACH]
    return max(generations, key=lambda each: each.value).guidance_scale if generations else None


def table(scores: Sequence[Score]) -> str:
    """The scores in Markdown: those without facts as a list, the others as a matrix with a row per fact."""
    by_fact = list(dict.fromkeys(each.name for each in scores if each.fact != ALL))
    lines = []
    alone = [each for each in scores if each.name not in by_fact]
    if alone:
        lines += ["| score | value | pictures |", "|---|---|---|"]
        lines += [f"| {each.name} | {_shown(each)} | {each.count} |" for each in alone]
    if by_fact:
        found = {(each.name, each.fact): each for each in scores}
        lines += [""] * bool(lines) + [f"| fact | {' | '.join(by_fact)} |", "|---" * (len(by_fact) + 1) + "|"]
        for fact in (*FACTS, EACH, ALL):
            row = [found.get((name, fact)) for name in by_fact]
            if any(row):
                lines.append(f"| {fact} | {' | '.join(_shown(cell) if cell else '' for cell in row)} |")
    return "\n".join(lines) + "\n"


def _shown(score: Score) -> str:
    return f"{100 * score.value:.1f} %" if score.unit == SHARE else f"{score.value:.2f} {score.unit}"


class _Tally:
    """Answers by name and fact, and their means."""

    def __init__(self) -> None:
        self.values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, name: str, fact: str, values: Iterable[float]) -> None:
        self.values[name, fact] += values

    def compare(self, name: str, found: Sequence[Mapping[str, str]], wanted: Sequence[Mapping[str, str]]) -> None:
        """Each wanted fact of each picture, all of them together, and the pictures that have every one."""
        for read, facts_wanted in zip(found, wanted, strict=True):
            right = {fact: read[fact] == value for fact, value in facts_wanted.items()}
            for fact, value in right.items():
                self.add(name, fact, [value])
            self.add(name, EACH, right.values())
            self.add(name, ALL, [all(right.values())])

    def scores(self, guidance_scale: float | None = None) -> list[Score]:
        order = {fact: index for index, fact in enumerate((*FACTS, EACH, ALL))}
        names = list(dict.fromkeys(name for name, _ in self.values))
        found = sorted(self.values, key=lambda key: (names.index(key[0]), order[key[1]]))
        return [
            Score(
                name=name,
                fact=fact,
                value=float(np.mean(self.values[name, fact])),
                count=len(self.values[name, fact]),
                unit=DECIBEL if name == PSNR else SHARE,
                guidance_scale=guidance_scale,
            )
            for name, fact in found
        ]


def _psnr(a: Tensor, b: Tensor) -> float:
    """In dB, of pictures in [-1, 1]."""
    return 10 * math.log10(4 / float((a - b).square().mean()))


def _counted(stage: str, total: int, work: Generator[int, None, T]) -> Generator[Progress, None, T]:
    """The same work with its counts as progress."""
    while True:
        try:
            done = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        yield Progress(stage, done, total)


def _result(work: Generator[object, None, T]) -> T:
    """What a generator returns, run to its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
