"""Scores of what ships, on held-out scenes: the autoencoder's round trip, the judge's reading, and generations by text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagic.core.sampling import sample
from imagic.core.seeds import initial_noise
from imagic.core.types import Backbone
from imagic.menagerie.captions import caption_with_facts
from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.judge import Judge
from imagic.menagerie.render import render
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.training.world import VIEWS, trio

CHUNK = 60  # pictures at once; whole trios


@dataclass(frozen=True)
class Score:
    """One measured number. name: what, fact: of which fact ("all" for the whole), count: over how many pictures."""

    name: str
    fact: str
    value: float
    count: int


def score_reading(judge: Judge, backbone: Backbone | None, count: int) -> list[Score]:
    """How often the judge reads each fact right on held-out renders and tells trios apart; with a backbone, the same
    after the autoencoder's round trip, the round trip's PSNR in dB, and how often the individual survives it."""
    right: dict[str, list[bool]] = defaultdict(list)
    kept: dict[str, list[bool]] = defaultdict(list)
    triplets: list[bool] = []
    easy: list[bool] = []
    noise, survived = [], []
    for first in range(0, count, CHUNK):
        scenes = [scene for seed in range(first // VIEWS, (first + CHUNK) // VIEWS) for scene in trio(seed, held_out=True)]
        images = render(scenes)
        read, truth = judge.read(images), [facts(scene) for scene in scenes]
        for name in FACTS:
            right[name] += [a[name] == b[name] for a, b in zip(read, truth, strict=True)]
        one, two, other = judge.embed(images).view(-1, VIEWS, judge.embed(images[:1]).shape[1]).unbind(1)
        near = (one * two).sum(1)
        triplets += (near > (one * other).sum(1)).tolist()
        strangers = [_stranger(scene, seed) for seed, scene in enumerate(scenes[::VIEWS], start=first)]
        easy += (near > (one * judge.embed(render(strangers))).sum(1)).tolist()
        if backbone:
            back = backbone.decode(backbone.encode(images.to(backbone.device))).cpu()
            noise += [10 * float(torch.log10(4 / (a - b).square().mean())) for a, b in zip(images, back, strict=True)]
            again = judge.read(back)
            for name in FACTS:
                kept[name] += [a[name] == b[name] for a, b in zip(again, read, strict=True)]
            survived += judge.same_individual(images, back).tolist()
    scores = [Score("judge reads", name, _mean(values), len(values)) for name, values in right.items()]
    scores.append(Score("judge tells the hardest triplets", "all", _mean(triplets), len(triplets)))
    scores.append(Score("judge tells triplets of one species and colour", "all", _mean(easy), len(easy)))
    if backbone:
        scores.append(Score("round trip PSNR", "all", float(np.mean(noise)), len(noise)))
        scores += [Score("round trip keeps", name, _mean(values), len(values)) for name, values in kept.items()]
        scores.append(Score("round trip keeps the individual", "all", _mean(survived), len(survived)))
    return scores


def _stranger(scene: Any, seed: int) -> Any:
    """A random scene with an animal of the same species and colour."""
    animal = scene.animals[0]
    candidate, step = sample_scene(10**6 + seed * 1000, held_out=True), 0
    while (candidate.animals[0].species, candidate.animals[0].coat.colour) != (animal.species, animal.coat.colour):
        step += 1
        candidate = sample_scene(10**6 + seed * 1000 + step, held_out=True)
    return candidate


def captions_of(count: int) -> list[tuple[str, dict[str, str]]]:
    """Captions of held-out scenes, and the facts that each names."""
    rng = np.random.default_rng(0)
    return [caption_with_facts(sample_scene(seed, held_out=True), rng) for seed in range(count)]


def generate(
    backbone: Backbone, texts: Sequence[str], guidance_scale: float, num_steps: int, sampler: str = "dpmpp_2m"
) -> Tensor:
    """One picture per text, seed i for text i: (N, 3, S, S) in [-1, 1]."""
    shape = backbone.encode(torch.zeros(1, 3, backbone.image_size, backbone.image_size, device=backbone.device)).shape[1:]
    conditioning, null = backbone.encode_text(texts), backbone.encode_text([""])
    start = initial_noise(tuple(shape), range(len(texts)), backbone.device)
    walk = sample(backbone, start, backbone.schedule(num_steps), conditioning, null, guidance_scale, sampler)
    try:
        while True:
            next(walk)
    except StopIteration as end:
        return backbone.decode(end.value)


def score_generations(
    backbone: Backbone, judge: Judge, count: int, guidance_scale: float, num_steps: int = 20
) -> Generator[int, None, list[Score]]:
    """How often a generation shows what its caption names, fact by fact; yields how many pictures are done."""
    right: dict[str, list[bool]] = defaultdict(list)
    whole = []
    items = captions_of(count)
    for first in range(0, count, CHUNK):
        chunk = items[first : first + CHUNK]
        # A seed belongs to its caption, whatever the chunk.
        read = judge.read(generate(backbone, [text for text, _ in chunk], guidance_scale, num_steps).cpu())
        for (_, named), found in zip(chunk, read, strict=True):
            agreed = {name: found[name] == value for name, value in named.items()}
            for name, value in agreed.items():
                right[name].append(value)
            whole.append(all(agreed.values()))
        yield min(first + CHUNK, count)
    scores = [Score(f"generation agrees (guidance {guidance_scale:g})", name, _mean(right[name]), len(right[name])) for name in right]
    facts_right = [value for values in right.values() for value in values]
    scores.append(Score(f"generation agrees (guidance {guidance_scale:g})", "each named fact", _mean(facts_right), len(facts_right)))
    scores.append(Score(f"generation agrees (guidance {guidance_scale:g})", "all", _mean(whole), len(whole)))
    return scores


def _mean(values: Sequence[bool]) -> float:
    return float(np.mean(values))
