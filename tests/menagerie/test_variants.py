"""One thing changed, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imagic.menagerie.bodies import fit_in_picture
from imagic.menagerie.facts import FACTS, INDOOR_PLACES, RELATIONS, facts
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.variants import other_individual, other_picture, other_posture, with_posture, with_relation

SCENES = [sample_scene(seed) for seed in range(120)]
PAIRS = [scene for scene in SCENES if len(scene.animals) == 2]
SINGLES = [scene for scene in SCENES if len(scene.animals) == 1]


def changed(a: Scene, b: Scene) -> set[str]:
    return {name for name in FACTS if facts(a)[name] != facts(b)[name]}


def without_animals(scene: Scene) -> Scene:
    return replace(scene, animals=(), relation="none")


def test_there_are_scenes_of_one_and_of_two() -> None:
    assert PAIRS
    assert SINGLES


@pytest.mark.parametrize("seed", [0, 1])
def test_another_posture_is_the_same_individual(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for scene in SCENES:
        other = other_posture(scene, rng)
        assert changed(scene, other) == ({"relation"} if len(scene.animals) == 2 else {"posture"})
        assert without_animals(other) == without_animals(scene)
        assert [animal.coat for animal in other.animals] == [animal.coat for animal in scene.animals]
        # The second of a kissing pair takes the first one's frame.
        kept = 1 if other.relation == "kissing" else len(scene.animals)
        for before, after in zip(scene.animals[:kept], other.animals[:kept], strict=True):
            assert (after.shape, after.size, after.pose) == (before.shape, before.size, before.pose)


def test_another_picture_shows_the_same_individual_in_its_style() -> None:
    rng = np.random.default_rng(0)
    seen = set[str]()
    for scene in SCENES * 3:
        other = other_picture(scene, rng)
        seen |= changed(scene, other)
        assert facts(other)["species"] == facts(scene)["species"]
        assert (other.style, other.things, other.light) == (scene.style, scene.things, scene.light)
        kept = 1 if other.relation == "kissing" else len(scene.animals)
        for before, after in zip(scene.animals[:kept], other.animals[:kept], strict=True):
            assert after.shape == before.shape
            assert (after.coat.pattern, after.coat.waves, after.coat.weights, after.coat.threshold) == (
                before.coat.pattern, before.coat.waves, before.coat.weights, before.coat.threshold,
            )  # fmt: skip
        if len(other.animals) == 1:
            fitted = fit_in_picture(other.animals[0], (other.animals[0].posture,))
            assert (fitted.x, fitted.size) == pytest.approx((other.animals[0].x, other.animals[0].size))
        assert not (facts(other)["tree"] == "tree" and other.place in INDOOR_PLACES)
    assert seen == {"posture", "relation", "colour", "place", "sky", "facing", "hat", "scarf"}


def test_another_individual_has_the_same_facts_in_the_same_place() -> None:
    rng = np.random.default_rng(0)
    for scene in SCENES:
        other = other_individual(scene, rng)
        assert changed(scene, other) == set()
        assert without_animals(other) == without_animals(scene)
        for before, after in zip(scene.animals, other.animals, strict=True):
            assert after.coat != before.coat
            assert after.shape != before.shape
            assert after.coat.colour == before.coat.colour


def test_the_same_generator_gives_the_same_variant() -> None:
    for vary in (other_posture, other_picture, other_individual):
        a, b, c = (vary(SINGLES[0], np.random.default_rng(seed)) for seed in (5, 5, 6))
        assert a == b
        assert vary is other_posture or a != c


def test_a_posture_changes_alone() -> None:
    for scene in SINGLES:
        if scene.animals[0].species != "bird":
            there = with_posture(scene, "sitting")
            assert changed(scene, there) <= {"posture"}
            assert with_posture(there, scene.animals[0].posture) == scene


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_pair_takes_any_relation_and_comes_back(relation: str) -> None:
    for scene in PAIRS:
        there = with_relation(scene, relation)
        assert facts(there)["relation"] == relation
        assert changed(scene, there) <= {"relation"}
        assert changed(with_relation(there, scene.relation), scene) == set()
