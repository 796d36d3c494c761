from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from imagic.menagerie.captions import vocabulary
from imagic.menagerie.edits import GROUPS, MASK_THRESHOLD, Edit, held_out_edits, sample_edit, training_edits
from imagic.menagerie.facts import INDOOR_PLACES, NONE, facts
from imagic.menagerie.render import render
from imagic.menagerie.sampling import is_held_out
from tests.menagerie.reading import read

COUNT = 120
FREE = {  # the facts that each group may change
    "posture": [{"posture"}],
    "composition": [{"relation"}, {"facing"}],
    "addition": [{"hat"}, {"scarf"}, {"ball"}],
    "colour": [{"colour"}],
    "style": [{"style"}],
    "background": [{"place"}, {"place", "sky"}],
}


@pytest.fixture(scope="module")
def edits() -> list[Edit]:
    return held_out_edits(COUNT)


def of_group(edits: list[Edit], group: str) -> list[Edit]:
    return [edit for edit in edits if edit.group == group]


def combination(values: dict[str, str]) -> tuple[str, str, str]:
    return values["species"], values["colour"], values["place"]


def test_groups_take_turns(edits: list[Edit]) -> None:
    assert [edit.group for edit in edits] == list(GROUPS) * (COUNT // len(GROUPS))


def test_fewer_edits_are_the_start_of_more(edits: list[Edit]) -> None:
    assert held_out_edits(20) == edits[:20]


def test_items_and_scenes_are_all_different(edits: list[Edit]) -> None:
    every = [*edits, *held_out_edits(30, seed=1), *training_edits(30)]
    assert len({edit.item for edit in every}) == len(every)
    assert len({edit.source for edit in every}) == len(every)


def test_exactly_the_changed_facts_differ(edits: list[Edit]) -> None:
    for edit in edits:
        before, after = facts(edit.source), facts(edit.truth)
        assert {fact for fact in before if before[fact] != after[fact]} == edit.changed
        assert edit.changed in FREE[edit.group], edit.item


def test_the_group_changes_its_whole_share(edits: list[Edit]) -> None:
    kinds = Counter((edit.group, *sorted(edit.changed)) for edit in edits)
    assert kinds["composition", "relation"] == kinds["composition", "facing"] == 10
    assert min(kinds["addition", thing] for thing in ("hat", "scarf", "ball")) >= 6
    styles = Counter(facts(edit.truth)["style"] for edit in of_group(edits, "style"))
    assert min(styles.values()) >= 6
    assert len(styles) == 3
    assert min(Counter(facts(edit.source)["species"] for edit in edits).values()) >= 8


def test_sources_look_like_photographs(edits: list[Edit]) -> None:
    for edit in edits:
        assert edit.source.style == "plain"
        assert edit.group == "style" or edit.truth.style == "plain"


def test_held_out_sources_show_combinations_that_training_never_sees(edits: list[Edit]) -> None:
    assert all(is_held_out(*combination(facts(edit.source))) for edit in edits)


def test_training_edits_never_show_a_held_out_combination() -> None:
    for edit in training_edits(COUNT):
        for scene in (edit.source, edit.truth):
            assert not is_held_out(*combination(facts(scene))), edit.item


def test_posture_and_facing_keep_the_individual_and_all_else(edits: list[Edit]) -> None:
    for edit in edits:
        if edit.changed <= {"posture", "facing"}:
            before, after = edit.source.animals[0], edit.truth.animals[0]
            assert replace(after, posture=before.posture, facing=before.facing) == before
            assert replace(edit.truth, animals=edit.source.animals) == edit.source


def test_relation_moves_the_same_two_animals(edits: list[Edit]) -> None:
    for edit in edits:
        if edit.changed == {"relation"}:
            for before, after in zip(edit.source.animals, edit.truth.animals, strict=True):
                assert replace(after, x=before.x, facing=before.facing) == before, edit.item


def test_additions_add_one_thing(edits: list[Edit]) -> None:
    for edit in of_group(edits, "addition"):
        (thing,) = edit.changed
        assert facts(edit.source)[thing] == NONE
        if thing == "ball":
            assert edit.truth.things[:-1] == edit.source.things
            assert edit.truth.animals == edit.source.animals
        else:
            assert replace(edit.truth.animals[0], **{thing: NONE}) == edit.source.animals[0]


def test_a_new_colour_keeps_the_pattern(edits: list[Edit]) -> None:
    for edit in of_group(edits, "colour"):
        for before, after in zip(edit.source.animals, edit.truth.animals, strict=True):
            kept = replace(after.coat, colour=before.coat.colour, base=before.coat.base, mark=before.coat.mark)
            assert kept == before.coat
            assert replace(after, coat=before.coat) == before


def test_style_and_background_keep_the_animals(edits: list[Edit]) -> None:
    for edit in (*of_group(edits, "style"), *of_group(edits, "background")):
        assert replace(edit.truth, style="plain", place=edit.source.place, sky=edit.source.sky) == edit.source
        values = facts(edit.truth)
        if values["place"] in INDOOR_PLACES:
            assert (values["tree"], values["fence"]) == (NONE, NONE)
        assert (values["style"], values["count"]) != ("pixel art", "two")


def test_texts_are_true_and_name_what_is_asked(edits: list[Edit]) -> None:
    for edit in edits:
        for text, scene in ((edit.target_text, edit.truth), (edit.source_text, edit.source)):
            values = facts(scene)
            named = read(text)
            assert all(found == {values[fact]} for fact, found in named.items()), text
            asked = {fact for fact in edit.changed if values[fact] != NONE}
            assert asked | {"species", "count"} <= named.keys(), text
        assert read(edit.target_text).keys() - edit.changed == read(edit.source_text).keys() - edit.changed
        assert edit.target_text != edit.source_text


def test_texts_are_short_and_of_known_words(edits: list[Edit]) -> None:
    texts = [text for edit in edits for text in (edit.target_text, edit.source_text)]
    assert {word for text in texts for word in text.split()} <= set(vocabulary())
    assert max(len(text.split()) for text in texts) <= 16
    assert sum(len(edit.target_text.split()) for edit in edits) / COUNT < 8


def test_instructions_ask_for_the_new_fact(edits: list[Edit]) -> None:
    by_group = {edit.group: set() for edit in edits}
    for edit in edits:
        by_group[edit.group].add(edit.instruction)
        values, changed = facts(edit.truth), set(edit.changed) - {"sky"}
        (fact,) = changed
        if fact not in ("posture", "relation", "facing"):
            assert values[fact] in edit.instruction
        if fact == "place" and values["sky"] != facts(edit.source)["sky"] != values["sky"] != NONE:
            assert read(edit.instruction)["sky"] == {values["sky"]}
    assert "make the dog sit down" in by_group["posture"] | {
        sample_edit(seed, "posture").instruction for seed in range(60)
    }
    assert any(text.startswith("put a ") and text.endswith((" hat on the dog", " hat on the cat"))
               for text in by_group["addition"])  # fmt: skip


@pytest.mark.parametrize("size", [64, 128])
def test_the_truth_differs_from_the_source_only_inside_the_mask(edits: list[Edit], size: int) -> None:
    for edit in edits[:: 7 if size == 64 else 17]:
        mask = edit.mask(size)
        assert mask.shape == (1, size, size)
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        source, truth = render([edit.source, edit.truth], size)
        outside = (truth - source).abs().amax(0)[mask[0] == 0]
        assert outside.numel() == 0 or outside.max() <= MASK_THRESHOLD, edit.item
        assert mask.mean() > 0.002, f"{edit.item}: nothing to see"


def test_masks_are_local_but_for_style_and_background(edits: list[Edit]) -> None:
    for edit in edits[36:60]:
        share = edit.mask(64).mean().item()
        if edit.group == "style":
            assert share == 1
        elif edit.group == "background":
            assert 0.2 < share < 1
        else:
            assert 0.002 < share < 0.5, edit.item


def test_masks_scale_with_the_picture(edits: list[Edit]) -> None:
    for edit in edits[:12]:
        small, large = edit.mask(64), edit.mask(128)
        halved = (F.avg_pool2d(large, 2) > 0.5).float()
        overlap = (small * halved).sum() / torch.maximum(small, halved).sum()
        assert overlap > 0.7, edit.item


def test_an_edit_is_a_function_of_its_seed() -> None:
    for group in GROUPS:
        assert sample_edit(7, group) == sample_edit(7, group)
        assert sample_edit(7, group).source != sample_edit(7, group, held_out=True).source
        assert sample_edit(7, group).source != sample_edit(8, group).source


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="posture"):
        sample_edit(0, "weather")
