from collections import Counter

import torch

from imagic.bench.suites import open_suite
from imagic.menagerie.edits import GROUPS, held_out_edits, training_edits


class Size64:
    """All that a renderer reads of a model."""

    image_size, device = 64, torch.device("cpu")


def test_items_are_the_held_out_edits_under_their_own_names():
    items, edits = open_suite("menagerie", limit=6, seed=2).items(), held_out_edits(6, 2)
    for item, edit in zip(items, edits, strict=True):
        assert (item.name, item.group) == (edit.item, edit.group)
        assert (item.target_text, item.instruction) == (edit.target_text, edit.instruction)
        assert {name for name in item.truth_facts if item.source_facts[name] != item.truth_facts[name]} == edit.changed


def test_without_a_limit_there_are_twenty_per_group():
    items = open_suite("menagerie").items()
    assert Counter(item.group for item in items) == dict.fromkeys(GROUPS, 20)
    assert len({item.name for item in items}) == 120


def test_a_longer_suite_begins_as_a_shorter_one_and_selections_differ_in_name():
    few, many = open_suite("menagerie", limit=3), open_suite("menagerie", limit=7)
    assert [item.name for item in few.items()] == [item.name for item in many.items()][:3]
    assert few.name == many.name != open_suite("menagerie", seed=1).name


def test_pictures_differ_within_the_mask_and_nowhere_else():
    for item in open_suite("menagerie", limit=6).items():
        pictures = item.render(Size64())
        assert pictures.source.shape == pictures.truth.shape == (3, 64, 64)
        assert pictures.mask.shape == (1, 64, 64)
        difference = (pictures.truth - pictures.source).abs().amax(0, keepdim=True)
        assert difference.max() > 0.1
        assert (difference * (1 - pictures.mask)).max() <= 0.04


def test_defaults_are_tuned_on_other_scenes_than_they_are_reported_on():
    tuning, reporting = open_suite("menagerie-training", limit=6), open_suite("menagerie", limit=6)
    assert tuning.name != reporting.name
    assert [item.name for item in tuning.items()] == [edit.item for edit in training_edits(6)]
