"""The scores, with a judge, an autoencoder and a generator whose faults are known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.cascade import paint
from imagic.core.errors import ModelError
from imagic.core.sampling import Sampler, sample
from imagic.core.seeds import initial_noise
from imagic.core.types import Progress
from imagic.menagerie import score as score_module
from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.score import (
    EASY_TRIPLETS,
    HARD_TRIPLETS,
    INDIVIDUAL,
    KEEPS,
    PSNR,
    READS,
    Score,
    best_guidance,
    generate,
    held_out_captions,
    score,
    score_generations,
    table,
)
from tests.backbones.test_deepfloyd import SMALL, cascade
from tests.backbones.test_families import run

SCALE = 2.0**-12  # of a scene's number in a picture


class World:
    """Pictures that only hold the number of their scene, so that a judge can read them without looking."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []

    def draw(self, scenes: Sequence[Scene]) -> Tensor:
        first = len(self.scenes)
        self.scenes += scenes
        numbers = torch.arange(first, len(self.scenes)) * SCALE
        return torch.cat([numbers.view(-1, 1, 1, 1), torch.zeros(len(scenes), 2, 1, 1)], dim=1).expand(-1, -1, 2, 2)

    def scene(self, picture: Tensor) -> Scene:
        return self.scenes[round(float(picture[0, 0, 0]) / SCALE)]


class FakeJudge:
    """Knows everything, except the sky of every second picture; tells individuals by their coats, unless blind."""

    threshold = 0.9

    def __init__(self, world: World, blind: bool = False) -> None:
        self.world, self.blind = world, blind

    def read(self, images: Tensor) -> list[dict[str, str]]:
        found = [facts(self.world.scene(image)) for image in images]
        return [{**each, "sky": "?"} if row % 2 else each for row, each in enumerate(found)]

    def embed(self, images: Tensor) -> Tensor:
        coats = [self.world.scene(image).animals[0].coat.waves for image in images]
        seeds = [0 if self.blind else int(hashlib.sha256(repr(coat).encode()).hexdigest()[:8], 16) for coat in coats]
        vectors = torch.stack([torch.randn(64, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        return vectors / vectors.norm(dim=1, keepdim=True)

    def likeness(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.embed(a) * self.embed(b)).sum(1)


class FakeBackbone:
    """An autoencoder that is wrong by 0.03 in one of three channels."""

    device, image_size = torch.device("cpu"), 128

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, z: Tensor) -> Tensor:
        return z + torch.tensor([0.0, 0.03, 0.0]).view(1, 3, 1, 1)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(score_module, "draw", made.draw)
    return made


def by_name(scores: Sequence[Score]) -> dict[tuple[str, str], Score]:
    return {(each.name, each.fact): each for each in scores}


def scored(judge: Any, count: int, guidance_scales: Sequence[float] = ()) -> tuple[list[Progress], list[Score]]:
    backbone: Any = FakeBackbone()
    progress: list[Progress] = []
    work = score(backbone, judge, count, guidance_scales)
    while True:
        try:
            progress.append(next(work))
        except StopIteration as end:
            return progress, end.value


def read(world: World, *, blind: bool = False, count: int = 90) -> dict[tuple[str, str], Score]:
    return by_name(scored(FakeJudge(world, blind), count)[1])


def test_the_reading_of_each_fact_is_scored(world: World) -> None:
    found = read(world)
    assert {fact for name, fact in found if name == READS} == {*FACTS, "each", "all"}
    assert found[READS, "sky"] == Score(READS, "sky", 0.5, 90)
    assert found[READS, "species"] == Score(READS, "species", 1.0, 90)
    assert found[READS, "all"] == Score(READS, "all", 0.5, 90)
    each = found[READS, "each"]
    assert each.value == pytest.approx((len(FACTS) - 0.5) / len(FACTS))
    assert each.count == 90 * len(FACTS)


def test_the_scenes_are_held_out_trios_and_strangers_look_alike(world: World) -> None:
    read(world)
    training = {repr(sample_scene(seed).animals[0].coat) for seed in range(200)}
    assert not training & {repr(scene.animals[0].coat) for scene in world.scenes}
    # A chunk: 60 scenes, then a stranger for each of their 20 trios.
    for own, stranger in zip(world.scenes[0:60:3], world.scenes[60:80], strict=True):
        assert all(facts(own)[name] == facts(stranger)[name] for name in ("species", "colour"))
        assert own.animals[0].coat != stranger.animals[0].coat


def test_triplets_are_told_apart_or_not(world: World) -> None:
    sees, guesses = read(world), read(world, blind=True)
    for name in (HARD_TRIPLETS, EASY_TRIPLETS):
        assert sees[name, "all"] == Score(name, "all", 1.0, 30)
        assert guesses[name, "all"].value == 0


def test_the_round_trip_is_scored(world: World) -> None:
    found = read(world)
    assert found[PSNR, "all"].value == pytest.approx(10 * math.log10(4 / (0.03**2 / 3)), rel=1e-5)
    assert found[PSNR, "all"].unit == "dB"
    assert found[KEEPS, "sky"].value == 1.0  # as wrong as before
    assert found[INDIVIDUAL, "all"] == Score(INDIVIDUAL, "all", 1.0, 90)


@pytest.fixture
def generator_of_neighbours(world: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """At scale 3 pictures show the scene of their caption; at any other that of the next caption."""
    calls: list[tuple[Any, ...]] = []

    def draw(backbone: object, texts: Sequence[str], seeds: range, scale: float, num_steps: int) -> Tensor:
        calls.append((list(texts), list(seeds), scale, num_steps))
        return world.draw([sample_scene(seed + (scale != 3), held_out=True) for seed in seeds])

    monkeypatch.setattr(score_module, "generate", draw)
    return calls


def test_generations_are_scored_by_what_their_captions_name(
    world: World, generator_of_neighbours: list[tuple[Any, ...]]
) -> None:
    judge: Any = FakeJudge(world)
    backbone: Any = FakeBackbone()
    steps = []
    work = score_generations(backbone, judge, 100, 2.0, 7)
    while True:
        try:
            steps.append(next(work))
        except StopIteration as end:
            found = by_name(end.value)
            break
    assert steps == [60, 100]
    captions = held_out_captions(100)
    assert [text for call in generator_of_neighbours for text in call[0]] == [text for text, _ in captions]
    assert [seed for call in generator_of_neighbours for seed in call[1]] == [*range(100)]
    assert {call[2:] for call in generator_of_neighbours} == {(2.0, 7)}
    name = "generation agrees (guidance 2)"
    for fact in ("species", "place"):
        asked = [(seed, named[fact]) for seed, (_, named) in enumerate(captions) if fact in named]
        right = [facts(sample_scene(seed + 1, held_out=True))[fact] == value for seed, value in asked]
        expected = Score(name, fact, float(np.mean(right)), len(right), guidance_scale=2.0)
        assert found[name, fact] == expected
    assert 0 < found[name, "species"].value < 0.6
    assert found[name, "each"].count == sum(len(named) for _, named in captions)


def test_everything_is_scored_with_progress(world: World, generator_of_neighbours: list[tuple[Any, ...]]) -> None:
    progress, scores = scored(FakeJudge(world), 60, (2.0, 3.0))
    assert [(each.stage, each.step, each.total) for each in progress] == [
        ("held-out scenes", 60, 60),
        ("generations, guidance 2", 60, 60),
        ("generations, guidance 3", 60, 60),
    ]
    assert best_guidance(scores) == 3.0
    assert {each.guidance_scale for each in scores} == {None, 2.0, 3.0}
    assert best_guidance(scored(FakeJudge(world), 60)[1]) is None


def test_captions_are_of_held_out_scenes_and_say_what_they_name() -> None:
    few, many = held_out_captions(5), held_out_captions(20)
    assert many[:5] == few
    for seed, (text, named) in enumerate(many):
        known = facts(sample_scene(seed, held_out=True))
        assert text
        assert named
        assert all(known[fact] == value for fact, value in named.items())


def test_a_generation_belongs_to_its_seed_and_text(tiny_backbone: StableDiffusionBackbone) -> None:
    texts = ["a dog", "a cat sitting", "a dog"]
    images = generate(tiny_backbone, texts, [5, 6, 7], 3.0, 3)
    assert images.shape == (3, 3, 16, 16)
    assert images.abs().max() <= 1
    alone = generate(tiny_backbone, texts[1:2], [6], 3.0, 3)
    torch.testing.assert_close(alone[0], images[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(images[0], images[2], atol=1e-2)


def test_a_cascade_paints_its_generations() -> None:
    backbone, _, _ = cascade(16)
    (stage,) = backbone.upper_stages()
    stage.num_steps = 2
    (image,) = generate(backbone, ["a dog"], [6], 2.0, 3, Sampler.DDIM)
    text, null = backbone.encode_text(["a dog"]), backbone.encode_text([""])
    z = run(sample(backbone, initial_noise(SMALL, [6]), backbone.schedule(3), text, null, 2.0))
    assert torch.equal(image, run(paint(backbone, z, text, 6))[0])
    assert not torch.allclose(image, backbone.decode(z)[0], atol=1e-2)


def test_a_model_of_pictures_that_the_judge_cannot_read_is_refused_at_once(world: World) -> None:
    backbone, _, _ = cascade()
    judge: Any = FakeJudge(world)
    with pytest.raises(ModelError, match=r"128 pixels, not 8; .* or a whole cascade"):
        next(score(backbone, judge, 60))


def test_the_table_has_a_row_per_fact_and_one_per_other_score() -> None:
    scores = [
        Score(READS, "species", 0.995, 300),
        Score(READS, "each", 0.9876, 4200),
        Score(PSNR, "all", 34.126, 300, unit="dB"),
        Score("generation agrees (guidance 3)", "species", 0.5, 10, guidance_scale=3.0),
    ]
    assert table(scores) == (
        "| score | value | pictures |\n|---|---|---|\n| round trip PSNR | 34.13 dB | 300 |\n\n"
        "| fact | judge reads | generation agrees (guidance 3) |\n|---|---|---|\n"
        "| species | 99.5 % | 50.0 % |\n| each | 98.8 % |  |\n"
    )
