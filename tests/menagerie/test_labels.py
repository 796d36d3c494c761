"""Facts as classes: the index of each, and the loss of reading them."""

from __future__ import annotations

import math

import pytest
import torch

from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.training.augment import as_shown
from imagic.menagerie.training.labels import labels, reading_loss
from imagic.menagerie.training.world import scenes_of


def test_labels_are_the_places_of_the_facts_in_their_lists() -> None:
    scenes = scenes_of(0, 20)
    found = labels(scenes, "cpu")
    assert found.keys() == FACTS.keys()
    for row, scene in enumerate(scenes):
        assert {name: FACTS[name][int(found[name][row])] for name in FACTS} == facts(scene)


def test_a_mirrored_animal_faces_the_other_way() -> None:
    scenes = scenes_of(0, 40)
    plain, mirrored = (labels(as_shown(scenes, torch.full((40,), flag)), "cpu") for flag in (False, True))
    facing = FACTS["facing"]
    other = {"none": "none", "left": "right", "right": "left"}
    assert {facing[index] for index in plain["facing"]} == set(facing)
    assert [facing[index] for index in mirrored["facing"]] == [other[facing[index]] for index in plain["facing"]]
    assert all(torch.equal(plain[name], mirrored[name]) for name in FACTS if name != "facing")


def test_the_loss_of_a_reader_that_knows_nothing_is_the_mean_entropy_of_a_guess() -> None:
    wanted = labels(scenes_of(0, 5), "cpu")
    logits = {name: torch.zeros(5, len(values)) for name, values in FACTS.items()}
    guess = sum(math.log(len(values)) for values in FACTS.values()) / len(FACTS)
    assert float(reading_loss(logits, wanted)) == pytest.approx(guess)
    sure = {name: 50 * torch.nn.functional.one_hot(wanted[name], len(FACTS[name])).float() for name in FACTS}
    assert float(reading_loss(sure, wanted)) == pytest.approx(0, abs=1e-6)
