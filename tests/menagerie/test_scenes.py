from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from imagic.menagerie.bodies import FACING_GAP, place_pair, snout_tip, strokes_of
from imagic.menagerie.facts import BIRD_POSTURES, QUADRUPED_POSTURES, QUADRUPEDS, RELATIONS, SPECIES, postures_of
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Animal, Scene


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(seed) for seed in range(200)]


def animal_of(scenes: list[Scene], species: str) -> Animal:
    return next(s.animals[0] for s in scenes if s.animals[0].species == species and len(s.animals) == 1)


def test_scenes_are_values(scenes: list[Scene]) -> None:
    """Equal when all is equal, usable as keys, and nobody can change one."""
    assert len({*scenes, *(replace(scene) for scene in scenes)}) == len(scenes)
    with pytest.raises(FrozenInstanceError):
        scenes[0].place = "grass"  # type: ignore[misc]


@pytest.mark.parametrize("species", QUADRUPEDS)
def test_the_coat_follows_the_posture(scenes: list[Scene], species: str) -> None:
    """Each stroke has the same place in the coat, the same scale and colour in all postures."""
    animal = animal_of(scenes, species)
    coats = [
        [(s.coat, s.u, s.v, s.scale, s.flip, s.rgb) for s in strokes_of(replace(animal, posture=posture)) if s.coat]
        for posture in QUADRUPED_POSTURES
    ]
    assert len(coats[0]) >= 10
    assert all(coat == coats[0] for coat in coats)


def test_the_coat_of_a_bird_stays_when_it_spreads_its_wings(scenes: list[Scene]) -> None:
    """Its body, neck, head and tail; a spread wing shows feathers that a folded one hides."""
    bird = animal_of(scenes, "bird")
    perched, spread = (
        {(s.u, s.v, s.scale, s.rgb) for s in strokes_of(replace(bird, posture=posture)) if s.coat}
        for posture in BIRD_POSTURES
    )
    assert {(u, v) for u, v, *_ in perched & spread} == {(0.0, 0.0), (1.0, 0.0), (2.0, 0.3), (3.0, 0.0)}


@pytest.mark.parametrize("species", SPECIES)
def test_an_animal_that_faces_left_is_the_mirror_image(scenes: list[Scene], species: str) -> None:
    right = replace(animal_of(scenes, species), facing="right", x=0.4)
    left = replace(right, facing="left", x=0.6)
    for posture in postures_of(species):
        pairs = zip(
            strokes_of(replace(right, posture=posture)), strokes_of(replace(left, posture=posture)), strict=True
        )
        for a, b in pairs:
            assert (1 - b.ax, b.ay, 1 - b.bx, b.by) == pytest.approx((a.ax, a.ay, a.bx, a.by))
            assert b == a._replace(ax=b.ax, bx=b.bx, ay=b.ay, by=b.by, flip=-1.0)


def test_one_animal_stays_in_the_picture_in_every_posture(scenes: list[Scene]) -> None:
    for scene in scenes:
        if len(scene.animals) == 1:
            (animal,) = scene.animals
            for posture in postures_of(animal.species):
                for s in strokes_of(replace(animal, posture=posture)):
                    assert min(s.ax - s.ra, s.bx - s.rb, s.ay - s.ra, s.by - s.rb) > 0, (animal.species, posture)
                    assert max(s.ax + s.ra, s.bx + s.rb) < 1, (animal.species, posture)


def test_relations_of_two_animals(scenes: list[Scene]) -> None:
    pairs = [scene for scene in scenes if len(scene.animals) == 2]
    assert {scene.relation for scene in pairs} == set(RELATIONS)
    for scene in pairs:
        for relation in RELATIONS:
            left, right = place_pair(scene.animals, relation)
            (lx, ly), (rx, ry) = snout_tip(left), snout_tip(right)
            assert left.x < right.x
            if relation == "apart":
                assert lx < left.x < right.x < rx, "each looks outwards"
            elif relation == "facing":
                assert rx - lx == pytest.approx(FACING_GAP)
            else:
                assert abs(rx - lx) < 0.01
                assert ry == pytest.approx(ly)
