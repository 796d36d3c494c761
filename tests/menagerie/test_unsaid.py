"""What captions leave unsaid, told beside them in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from imagic.menagerie import render
from imagic.menagerie.captions import caption_with_facts
from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.strokes import Stroke
from imagic.menagerie.training import unsaid as module
from imagic.menagerie.training.unsaid import LASTING, PLACES, SIZE, Unsaid, add_unsaid, before_an_edit, tell, unsaid
from imagic.menagerie.variants import other_individual, other_posture

SCENES = [sample_scene(seed) for seed in range(40)]
ALONE = [scene for scene in SCENES if len(scene.animals) == 1]


def test_every_scene_has_as_many_numbers_and_each_is_about_one() -> None:
    numbers = np.array([unsaid(scene, ()) for scene in SCENES])
    assert numbers.shape == (len(SCENES), SIZE)
    assert np.abs(numbers).max() < 6
    assert np.sqrt(np.square(numbers).mean()) == pytest.approx(0.6, abs=0.3)


def test_a_fact_that_is_named_is_not_told() -> None:
    for scene in ALONE:
        brown, grey = (
            replace(scene, animals=(replace(scene.animals[0], coat=replace(scene.animals[0].coat, colour=colour)),))
            for colour in ("brown", "grey")
        )
        told = [np.array(unsaid(each, ())) for each in (brown, grey)]
        assert not np.array_equal(*told)
        # The word itself is gone; tints are relative to the usual colour of the word, so only they may differ.
        named = [np.array(unsaid(each, ("colour",))) for each in (brown, grey)]
        assert np.count_nonzero(named[0] != named[1]) == 3
    texts = [caption_with_facts(scene, np.random.default_rng(0)) for scene in SCENES]
    for scene, (_, named_facts) in zip(SCENES, texts, strict=True):
        words = sum(len(values) - ("none" in values) for values in FACTS.values())
        present = sum(value != "none" for value in facts(scene).values())
        shown = sum(facts(scene)[name] != "none" for name in named_facts)
        assert sum(unsaid(scene, named_facts)[:words]) == present - shown


def test_the_individual_is_told_and_its_posture_is_not_part_of_it() -> None:
    rng = np.random.default_rng(0)
    named = set(FACTS)
    for scene in ALONE:
        own = np.array(unsaid(scene, named))
        moved, other = (
            np.array(unsaid(other_posture(scene, rng), named)),
            np.array(unsaid(other_individual(scene, rng), named)),
        )
        assert np.abs(other - own).sum() > 5 * np.abs(moved - own).sum()


def test_marks_are_where_the_renderer_draws_them() -> None:
    """A broad level stroke without light: its colour along the middle is that of the coat or of the marks."""
    size, unit = 128, 0.2
    coats = [replace(scene.animals[0].coat, base=(0.0, 0.0, 0.0), mark=(1.0, 1.0, 1.0)) for scene in ALONE]
    for coat in coats:
        stroke = Stroke(0.1, 0.5, 0.9, 0.5, 0.1, 0.1, rgb=coat.base, shade=0.0, coat=True, u=0.3, v=0.05, scale=unit)
        axis = (torch.arange(size) + 0.5) / size
        numbers = torch.tensor([render._numbers(stroke, coat)])
        drawn = render._lay(
            torch.zeros(1, size, size, 3), numbers, torch.zeros(1, 3), axis[None, None], axis[None, :, None], 1 / size
        )
        for column in range(16, 112, 4):
            u, v = 0.3 + (axis[column].item() - 0.1) / unit, 0.05 + (axis[size // 2].item() - 0.5) / unit
            marked = 2 * drawn[0, size // 2, column, 0].item() - 1
            assert marked * module._mark(coat, u, v) > -1e-3
            assert abs(marked) >= abs(module._mark(coat, u, v)) - 1e-3  # the renderer's marks are steeper
    assert any(coat.threshold < 9 for coat in coats)


def test_it_is_added_to_the_last_places_of_most_captions_at_any_strength() -> None:
    encoder, scenes = Unsaid(16, 12, level=0.5), SCENES * 10
    hidden = torch.randn(len(scenes), 32, 16, generator=torch.Generator().manual_seed(0))
    told = tell(scenes, [()] * len(scenes), np.random.default_rng(0))
    with torch.no_grad():
        added = add_unsaid(hidden, encoder, told) - hidden
    assert not added[:, :-PLACES].any()
    levels = added[:, -PLACES:].square().mean((1, 2)).sqrt()
    assert torch.equal(levels > 0, told.strengths > 0)
    assert (levels > 0).float().mean().item() == pytest.approx(module.SHARE, abs=0.08)
    assert levels[levels > 0].min().item() > 0.5 * module.LEAST_STRENGTH * 0.8
    assert levels.max().item() < 0.5 * 1.2


def test_its_encoder_and_its_reader_learn() -> None:
    encoder, told = Unsaid(16, 12), tell(SCENES[:8], [()] * 8, np.random.default_rng(0))
    hidden = add_unsaid(torch.zeros(8, 32, 16), encoder, told)
    features = torch.randn(8, 12, 8, 8, generator=torch.Generator().manual_seed(0))
    (hidden[:, -1, 0].sum() + encoder.reading_loss(features, told)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in encoder.parameters())


def test_the_reading_counts_only_what_was_told() -> None:
    encoder, told = Unsaid(16, 12), tell(SCENES[:8], [()] * 8, np.random.default_rng(0))
    features = torch.zeros(8, 12, 8, 8)  # of which a reader can only say its bias
    torch.nn.init.zeros_(encoder.read.bias)
    told = replace(told, strengths=torch.tensor([1.0, 0.3] + [0.0] * 6))
    loss = float(encoder.reading_loss(features, told).detach())
    assert loss == pytest.approx(float(told.shown[:2].square().mean()), rel=1e-5)


def test_before_an_edit_one_named_fact_was_another_and_all_else_is_told() -> None:
    rng = np.random.default_rng(0)
    words = [(name, value) for name, values in FACTS.items() for value in values if value != "none"]
    changed = set()
    for scene in SCENES:
        _, named = caption_with_facts(scene, rng)
        told, shown = before_an_edit(scene, named, rng)
        (name,) = {name for (name, value), number in zip(words, unsaid(scene, ()), strict=False) if number} - {
            name for (name, value), number in zip(words, shown, strict=False) if number
        } or {""}
        if not name:  # the caption names nothing that an edit could change
            assert not set(named) - set(LASTING)
            assert told == shown == unsaid(scene, ())
            continue
        assert name in named
        assert name not in LASTING
        assert shown == unsaid(scene, (name,))
        added = [words[i] for i, (a, b) in enumerate(zip(told, shown, strict=True)) if a != b]
        assert len(added) <= 1  # none where the fact was absent
        assert all(fact == name and value != facts(scene)[name] for fact, value in added)
        changed.add(name)
    assert len(changed) > 5


def test_the_text_is_right_where_the_numbers_differ_from_it() -> None:
    """What is read from the features is what the picture shows, never what is only told."""
    texts = [caption_with_facts(scene, np.random.default_rng(0))[1] for scene in SCENES]
    told = tell(SCENES, texts, np.random.default_rng(0))
    differs = (told.numbers != told.shown).sum(1)
    assert differs.max() == 1
    assert (differs == 1).float().mean().item() == pytest.approx(module.EDITS * 0.9, abs=0.2)
    for row, scene in enumerate(SCENES):
        own = torch.tensor(unsaid(scene, ()))
        assert ((told.shown[row] == own) | (told.shown[row] == 0)).all()
