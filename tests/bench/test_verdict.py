import pytest
import torch

from imagic.bench.types import Item
from imagic.bench.verdict import judge_images


class ScriptedJudge:
    """Says what it is told, in the order truth, round trip, results."""

    threshold = 0.5

    def __init__(self, *readings, individuals=(True,)):
        self.readings, self.individuals = readings, individuals

    def read(self, images):
        assert len(images) == len(self.readings)
        return self.readings

    def likeness(self, a, b):
        assert len(a) == len(b) == len(self.individuals)
        return torch.tensor([0.75 if same else 0.25 for same in self.individuals])


SOURCE = {"posture": "standing", "coat": "brown", "place": "grass"}
TRUTH = {"posture": "sitting", "coat": "brown", "place": "grass"}


def verdict(truth, roundtrip, result, individual=True, true_facts=TRUTH):
    item = Item("a", "posture", "it sits", "", SOURCE, true_facts, lambda backbone: None)
    judge = ScriptedJudge(truth, roundtrip, result, individuals=(individual,))
    (only,) = judge_images(judge, item, torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), [torch.zeros(3, 4, 4)])
    return only


@pytest.mark.parametrize(
    ("result", "individual", "asked", "kept"),
    [
        (TRUTH, True, True, True),
        (SOURCE, True, False, True),
        ({**TRUTH, "coat": "black"}, True, True, False),
        ({**SOURCE, "place": "snow"}, True, False, False),
        (TRUTH, False, True, True),
    ],
)
def test_success_needs_all_three_parts(result, individual, asked, kept):
    only = verdict(TRUTH, SOURCE, result, individual)
    assert (only.asked, only.kept, only.individual) == (asked, kept, individual)
    assert only.likeness == (0.75 if individual else 0.25)
    assert only.success is (asked and kept and individual)


def test_a_fact_misread_on_the_truth_is_not_held_against_the_edit():
    misread = {**TRUTH, "coat": "black"}
    for coat in ("brown", "black", "white"):
        assert verdict(misread, SOURCE, {**TRUTH, "coat": coat}).success is True
    assert verdict(misread, SOURCE, {**TRUTH, "place": "snow"}).success is False


def test_a_fact_lost_by_the_models_coder_is_held_against_the_edit():
    lost = {**SOURCE, "coat": "black"}
    only = verdict(TRUTH, lost, {**TRUTH, "coat": "black"})
    assert only.kept is False
    assert only.facts["coat"].counts
    assert only.facts["coat"].read_roundtrip == "black"


def test_an_edit_whose_only_asked_fact_is_misread_on_the_truth_is_not_judged():
    only = verdict(SOURCE, SOURCE, TRUTH)
    assert only.success is None
    assert only.asked is None
    assert only.kept is True


def test_of_two_asked_facts_the_readable_one_decides():
    both = {**TRUTH, "place": "sand"}
    misread = {**both, "posture": "standing"}
    assert verdict(misread, SOURCE, {**SOURCE, "place": "sand"}, true_facts=both).asked is True
    assert verdict(misread, SOURCE, {**SOURCE, "posture": "sitting"}, true_facts=both).asked is False


def test_a_fact_that_the_judge_does_not_read_does_not_count():
    read = {name: value for name, value in TRUTH.items() if name != "coat"}
    only = verdict(read, read, read)
    assert only.success is True
    assert not only.facts["coat"].counts
    assert only.facts["coat"].read_result is None


def test_each_result_has_its_own_verdict():
    item = Item("a", "posture", "it sits", "", SOURCE, TRUTH, lambda backbone: None)
    judge = ScriptedJudge(TRUTH, SOURCE, TRUTH, SOURCE, TRUTH, individuals=(True, True, False))
    blank = torch.zeros(3, 4, 4)
    assert [each.success for each in judge_images(judge, item, blank, blank, [blank] * 3)] == [True, False, False]
