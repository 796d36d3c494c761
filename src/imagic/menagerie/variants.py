"""The same scene with one thing changed: what edits with a known truth, and pairs for the judge, are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imagic.menagerie.anatomy import SHAPE_SIZE
from imagic.menagerie.bodies import fit_in_picture, place_pair
from imagic.menagerie.facts import (
    ACCENTS,
    FACINGS,
    INDOOR_PLACES,
    NONE,
    OUTDOOR_PLACES,
    PLACES,
    RELATIONS,
    SKIES,
    colours_of,
    postures_of,
)
from imagic.menagerie.sampling import BASE_COLOURS, marking, sample_coat
from imagic.menagerie.scenes import Scene

ELSEWHERE = 1 / 3  # how often each fact but the posture differs between two pictures of one individual


def with_posture(scene: Scene, posture: str) -> Scene:
    """The same individuals in the same places, in another posture; a pair is placed anew by its relation."""
    animals = tuple(replace(animal, posture=posture) for animal in scene.animals)
    return replace(scene, animals=place_pair(animals, scene.relation) if len(animals) == 2 else animals)


def with_relation(scene: Scene, relation: str) -> Scene:
    """The same pair in another relation."""
    return replace(scene, animals=place_pair(scene.animals, relation), relation=relation)


def with_colour(scene: Scene, colour: str, rng: np.random.Generator) -> Scene:
    """The same individuals with coats of another colour: each keeps its pattern, and has new shades of the colour."""
    animals = tuple(
        replace(animal, coat=replace(animal.coat, colour=colour, base=BASE_COLOURS[colour], mark=marking(rng, colour)))
        for animal in scene.animals
    )
    return replace(scene, animals=animals)


def with_place(scene: Scene, place: str, rng: np.random.Generator) -> Scene:
    """The same individuals in another place, outdoors under the sky of before, or a random one."""
    sky = scene.sky if scene.sky != NONE else str(rng.choice(SKIES))
    return replace(scene, place=place, sky=NONE if place in INDOOR_PLACES else sky)


def places_for(scene: Scene) -> tuple[str, ...]:
    """Where a scene can be: a tree or a fence stays outdoors."""
    return OUTDOOR_PLACES if any(thing.kind in ("tree", "fence") for thing in scene.things) else PLACES


def other_relation(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same pair in a random other relation."""
    return with_relation(scene, _other(RELATIONS, scene.relation, rng))


def other_posture(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same individuals in a random other posture; a pair in another relation."""
    if len(scene.animals) == 2:
        return other_relation(scene, rng)
    animal = scene.animals[0]
    return with_posture(scene, _other(postures_of(animal.species), animal.posture, rng))


def other_picture(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same individuals in another posture and, each now and then, of another colour, in another place, facing the
    other way, with other hats and scarves: whatever an edit may change, but the style.

    A style hides what individuals are told apart by, and a result is compared with a truth of its own style.
    """
    scene = other_posture(scene, rng)
    if rng.random() < ELSEWHERE:
        scene = with_colour(scene, str(rng.choice(colours_of(scene.animals[0].species))), rng)
    if rng.random() < ELSEWHERE:
        scene = with_place(scene, str(rng.choice(places_for(scene))), rng)
    if len(scene.animals) == 2:
        return scene
    animal = scene.animals[0]
    if rng.random() < ELSEWHERE:
        animal = replace(animal, facing=_other(FACINGS, animal.facing, rng))
    if rng.random() < ELSEWHERE:
        animal = replace(animal, hat=str(rng.choice((NONE, *ACCENTS))), scarf=str(rng.choice((NONE, *ACCENTS))))
    return replace(scene, animals=(fit_in_picture(animal, (animal.posture,)),))


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
