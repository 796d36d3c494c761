from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from imagic.menagerie import sampling
from imagic.menagerie.facts import FACTS, INDOOR_PLACES, NONE, colours_of, facts, postures_of
from imagic.menagerie.scenes import Animal, Coat, Scene, Thing

COAT = Coat("brown", (0.4, 0.2, 0.1), (0.2, 0.1, 0.0), "spots", ((1.0, 2.0, 0.0),) * 3, (1.0, 1.0, 1.0), 0.9)
DOG = Animal("dog", "sitting", COAT, "left", 0.5, 0.85, 0.3, (1.0,) * 10, (0.0,) * 6, hat="red", scarf="blue")
BALL = Thing("ball", "green", 0.1, 0.9, 0.1, (0.5, 0.5, 0.5))
TREE = Thing("tree", NONE, 0.2, 0.6, 0.4, (0.5, 0.5, 0.5))
SCENE = Scene((DOG,), "snow", "sunset", NONE, (TREE, BALL), "pixel art", 0.6, (0.0, 1.0, 0.0), (0.5,) * 10, (0.5,) * 12)


def test_facts_of_one_animal() -> None:
    assert facts(SCENE) == {
        "species": "dog",
        "posture": "sitting",
        "colour": "brown",
        "place": "snow",
        "sky": "sunset",
        "hat": "red",
        "scarf": "blue",
        "ball": "green",
        "tree": "tree",
        "fence": NONE,
        "count": "one",
        "relation": NONE,
        "facing": "left",
        "style": "pixel art",
    }


def test_facts_of_two_animals() -> None:
    bare = replace(DOG, hat=NONE, scarf=NONE)
    pair = replace(SCENE, animals=(bare, replace(bare, facing="right")), relation="apart", things=())
    changed = {"hat": NONE, "scarf": NONE, "ball": NONE, "tree": NONE}
    changed |= {"count": "two", "relation": "apart", "facing": NONE}
    assert facts(pair) == facts(SCENE) | changed


def test_every_value_of_every_fact_occurs_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "fit_in_picture", lambda animal, postures: animal)  # slow, and no fact
    seen = defaultdict(set)
    for seed in range(1500):
        values = facts(sampling.sample_scene(seed))
        assert list(values) == list(FACTS)
        for fact, value in values.items():
            seen[fact].add(value)
        assert values["posture"] in postures_of(values["species"])
        assert values["colour"] in colours_of(values["species"])
        assert (values["sky"] == NONE) == (values["place"] in INDOOR_PLACES)
        assert (values["relation"] == NONE) == (values["count"] == "one") == (values["facing"] != NONE)
    assert seen == {fact: set(values) for fact, values in FACTS.items()}
