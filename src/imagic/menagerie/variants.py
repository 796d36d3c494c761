"""The same scene with one thing changed: what edits with a known truth, and pairs for the judge, are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imagic.menagerie.anatomy import SHAPE_SIZE
from imagic.menagerie.bodies import place_pair
from imagic.menagerie.facts import RELATIONS, postures_of
from imagic.menagerie.sampling import sample_coat
from imagic.menagerie.scenes import Scene


def with_posture(scene: Scene, posture: str) -> Scene:
    """The same individuals in the same places, in another posture; a pair is placed anew by its relation."""
    animals = tuple(replace(animal, posture=posture) for animal in scene.animals)
    return replace(scene, animals=place_pair(animals, scene.relation) if len(animals) == 2 else animals)


def with_relation(scene: Scene, relation: str) -> Scene:
    """The same pair in another relation."""
    return replace(scene, animals=place_pair(scene.animals, relation), relation=relation)


def other_relation(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same pair in a random other relation."""
    return with_relation(scene, _other(RELATIONS, scene.relation, rng))


def other_posture(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same individuals in a random other posture; a pair in another relation."""
    if len(scene.animals) == 2:
        return other_relation(scene, rng)
    animal = scene.animals[0]
    return with_posture(scene, _other(postures_of(animal.species), animal.posture, rng))


def other_individual(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same facts in the same place, but of other animals: new coats of the same colour, new proportions."""
    animals = tuple(
        replace(
            animal,
            coat=sample_coat(rng, animal.coat.colour),
            shape=tuple(float(value) for value in rng.uniform(0.86, 1.14, SHAPE_SIZE)),
        )
        for animal in scene.animals
    )
    return replace(scene, animals=place_pair(animals, scene.relation) if len(animals) == 2 else animals)


def _other(values: tuple[str, ...], value: str, rng: np.random.Generator) -> str:
    others = [candidate for candidate in values if candidate != value]
    return others[int(rng.integers(len(others)))]
