from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from imagic.menagerie import sampling
from imagic.menagerie.facts import ACCENTS, BIRD_COLOURS, PLACES, SKIES, SPECIES, STYLES, colours_of, facts
from imagic.menagerie.sampling import (
    BASE_COLOURS,
    HELD_OUT_OFFSET,
    MARK_COLOURS,
    is_held_out,
    marking,
    sample_ball,
    sample_coat,
    sample_scene,
)
from imagic.menagerie.scenes import Scene

COUNT = 10_000  # of each set


@pytest.fixture(scope="module")
def sets() -> Iterator[tuple[list[Scene], list[Scene]]]:
    """Training and held-out scenes, quickly: fitting the body in the picture draws nothing and decides no fact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "fit_in_picture", lambda animal, postures: animal)
        yield (
            [sample_scene(seed) for seed in range(COUNT)],
            [sample_scene(seed, held_out=True) for seed in range(COUNT)],
        )


def combinations(scenes: list[Scene]) -> set[tuple[str, str, str]]:
    values = [facts(scene) for scene in scenes]
    return {(value["species"], value["colour"], value["place"]) for value in values}


def test_training_and_held_out_combinations_are_disjoint_and_make_up_all(
    sets: tuple[list[Scene], list[Scene]],
) -> None:
    training, held_out = map(combinations, sets)
    assert training.isdisjoint(held_out)
    assert training | held_out == {
        (species, colour, place) for species in SPECIES for colour, place in product(colours_of(species), PLACES)
    }


def test_held_out_combinations_are_about_a_tenth_and_mix_all_three_facts(
    sets: tuple[list[Scene], list[Scene]],
) -> None:
    training, held_out = map(combinations, sets)
    assert len(held_out) / len(training | held_out) == pytest.approx(0.1, abs=0.03)
    for which, values in enumerate((SPECIES, BIRD_COLOURS, PLACES)):
        assert {combination[which] for combination in training} == set(values)
        assert len({combination[which] for combination in held_out}) >= len(values) - 1
    assert all(is_held_out(*combination) for combination in held_out)


def test_no_two_scenes_are_alike(sets: tuple[list[Scene], list[Scene]]) -> None:
    """Neither within a set nor between the two: no seed of one is a seed of the other."""
    training, held_out = sets
    assert len({*training, *held_out}) == 2 * COUNT
    coats = {animal.coat for scene in (*training, *held_out) for animal in scene.animals}
    assert len(coats) == sum(len(scene.animals) for scene in (*training, *held_out))


@pytest.mark.parametrize("seed", [-1, HELD_OUT_OFFSET])
def test_training_seeds_cannot_reach_held_out_ones(seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        sample_scene(seed)


def test_a_seed_is_a_scene() -> None:
    for held_out in (False, True):
        assert [sample_scene(s, held_out=held_out) for s in range(5)] == [
            sample_scene(s, held_out=held_out) for s in range(5)
        ]


def test_how_often_things_occur(sets: tuple[list[Scene], list[Scene]]) -> None:
    values = [facts(scene) for scene in sets[0]]

    def share(fact: str, *wanted: str, of: str = "", where: tuple[str, ...] = ()) -> float:
        chosen = [value for value in values if not of or value[of] in where]
        return sum(value[fact] in wanted for value in chosen) / len(chosen)

    assert share("count", "two") == pytest.approx(0.2, abs=0.02)
    assert share("style", "plain") == pytest.approx(0.72, abs=0.02)
    assert share("ball", *ACCENTS) == pytest.approx(0.22, abs=0.02)
    assert share("tree", "tree", of="sky", where=SKIES) == pytest.approx(0.25, abs=0.02)
    assert share("fence", "fence", of="sky", where=SKIES) == pytest.approx(0.18, abs=0.02)
    assert share("hat", *ACCENTS, of="count", where=("one",)) == pytest.approx(0.2, abs=0.02)
    for species in SPECIES:
        assert share("species", species) == pytest.approx(1 / 6, abs=0.02)


def test_two_animals_are_bare_calm_and_not_in_pixel_art(sets: tuple[list[Scene], list[Scene]]) -> None:
    pairs = [facts(scene) for scene in sets[0] if len(scene.animals) == 2]
    assert {(value["hat"], value["scarf"]) for value in pairs} == {("none", "none")}
    assert "jumping" not in {value["posture"] for value in pairs}
    assert {value["style"] for value in pairs} == set(STYLES) - {"pixel art"}


def test_indoors_there_is_nothing_that_grows(sets: tuple[list[Scene], list[Scene]]) -> None:
    for scene in sets[0]:
        if scene.sky == "none":
            assert {thing.kind for thing in scene.things} <= {"ball"}


@pytest.mark.parametrize("colour", BIRD_COLOURS)
def test_coats_keep_to_their_colour(colour: str) -> None:
    """Each base is nearest to its own colour of all, and marks stay in the family."""
    rng = np.random.default_rng(0)
    names = list(BASE_COLOURS)
    for _ in range(200):
        coat = sample_coat(rng, colour)
        distances = [np.linalg.norm(np.subtract(coat.base, BASE_COLOURS[name])) for name in names]
        assert names[int(np.argmin(distances))] == colour
        mark = marking(rng, colour)
        assert min(np.linalg.norm(np.subtract(mark, usual)) for usual in MARK_COLOURS[colour]) < 0.2
        assert np.linalg.norm(np.subtract(coat.mark, coat.base)) > 0.08, "marks can be seen"


def test_balls_lie_beside_the_animals_in_the_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        ball = sample_ball(rng, 0.85)
        assert abs(ball.x - 0.5) > 0.25
        assert ball.size / 2 < ball.x < 1 - ball.size / 2
        assert 0.85 < ball.y < 1
        assert ball.colour in ACCENTS


def test_scenes_differ_in_more_than_facts(sets: tuple[list[Scene], list[Scene]]) -> None:
    animals = [scene.animals[0] for scene in sets[0]]
    assert np.std([animal.size for animal in animals]) > 0.02
    assert np.std([animal.shape for animal in animals], axis=0).min() > 0.05
    assert np.std([scene.light for scene in sets[0]], axis=0).min() > 0.03
    same = replace(animals[0], shape=animals[1].shape)
    assert same != animals[0]
