"""Instructions ask for what an edit changes, in many wordings, and all of them fit the model's text length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from imagic.menagerie import facts as world
from imagic.menagerie.edits import GROUPS, Edit, sample_edit
from imagic.menagerie.facts import NONE, facts
from imagic.menagerie.instructions import ACTS, STYLES, instruction
from imagic.menagerie.tokenizer import TEXT_LENGTH, build_tokenizer
from tests.menagerie.reading import read


@pytest.fixture(scope="module")
def edits() -> list[Edit]:
    return [sample_edit(seed, group) for seed in range(40) for group in GROUPS]


def wordings(edit: Edit, count: int = 12, *, back: bool = False) -> set[str]:
    before, after = facts(edit.source), facts(edit.truth)
    pair = (after, before) if back else (before, after)
    return {instruction(*pair, np.random.default_rng(seed)) for seed in range(count)}


def test_the_usual_wording_is_the_edits_own_and_one_of_many(edits: list[Edit]) -> None:
    for edit in edits:
        assert edit.instruction == instruction(facts(edit.source), facts(edit.truth))
    for group in GROUPS:
        first = next(edit for edit in edits if edit.group == group)
        said = wordings(first, 60)
        assert edit_in(first, said)
        assert len(said) >= 6


def edit_in(edit: Edit, said: set[str]) -> bool:
    return edit.instruction in said


def test_every_wording_names_the_new_fact_and_no_old_one(edits: list[Edit]) -> None:
    """Read by the words of the captions, which know nothing of this grammar."""
    for edit in edits:
        after = facts(edit.truth)
        for text in wordings(edit):
            for fact in edit.changed & {"colour", "place", "sky"}:
                if after[fact] != NONE:
                    assert after[fact] in read(text)[fact], (text, fact)
            for fact in edit.changed & {"hat", "scarf", "ball"}:
                assert after[fact] in text, text
                assert fact in text, text
            assert not any(slot in text for slot in "{}")


def test_no_two_wishes_share_a_wording() -> None:
    for table in (ACTS, STYLES):
        for one, other in itertools.combinations(table, 2):
            assert not set(table[one]) & set(table[other])
    assert set(ACTS) == {*world.POSTURES, *world.RELATIONS, *world.FACINGS}
    assert set(STYLES) == set(world.STYLES)


def test_what_was_put_there_can_be_taken_away(edits: list[Edit]) -> None:
    for edit in edits:
        if edit.group == "addition":
            (thing,) = edit.changed
            texts = wordings(edit, back=True)
            assert all(thing in text for text in texts)
            assert not any(accent in text for text in texts for accent in world.ACCENTS)


def test_pairs_are_spoken_of_as_two(edits: list[Edit]) -> None:
    found = [edit for edit in edits if len(edit.source.animals) == 2 and edit.group != "style"]
    assert len(found) > 10
    for edit in found:
        for text in wordings(edit):
            words = text.replace(",", "").split()
            assert "it" not in words
            assert not text.startswith("them")
    spread = {**facts(found[0].truth), "posture": "perched", "count": "two", "species": "bird"}
    assert instruction(spread, {**spread, "posture": "spreading its wings"}) == "make the birds spread their wings"


def test_every_wording_fits_the_text_encoder(edits: list[Edit]) -> None:
    tokenizer = build_tokenizer()
    texts = sorted({text for edit in edits for back in (False, True) for text in wordings(edit, back=back)})
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= TEXT_LENGTH
    # As long as an instruction gets: every word of it spelt, but for those of the captions.
    longest = "have the horses look away from each other"
    assert tokenizer(longest).input_ids[-1] == tokenizer.eos_token_id


def test_what_no_edit_makes_has_no_instruction(edits: list[Edit]) -> None:
    same = facts(edits[0].source)
    with pytest.raises(ValueError, match="nothing"):
        instruction(same, same)
    with pytest.raises(ValueError, match="species"):
        instruction(same, {**same, "species": "bird" if same["species"] != "bird" else "dog"})
