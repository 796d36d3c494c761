"""The CLIP's scores, by encoders whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imagic.menagerie import retrieval
from imagic.menagerie.edits import held_out_edits
from imagic.menagerie.facts import FACTS, facts
from imagic.menagerie.retrieval import AMONG, CHANCE, FINDS_CAPTION, FINDS_PICTURE, PREFERS_TRUTH, score_clip
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.score import held_out_captions
from tests.methods.conftest import finish

WEIGHTS = {(True, True): 1.0, (False, True): -20.0, (True, False): 0.0}  # by whether it is right, and named
VALUES = [(name, value) for name, values in FACTS.items() for value in values]


class Knows:
    """Is told the facts of each text, and reads those of each picture off the scene that `draw` hands on."""

    name = "knows"

    def __init__(self, told: dict[str, dict[str, str]], sense: float) -> None:
        """sense: 1 agrees with what fits, -1 with what does not."""
        self.told, self.sense = told, sense

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        # One wrong fact outweighs all right ones.
        rows = [
            [WEIGHTS[self.told[text].get(name, value) == value, name in self.told[text]] for name, value in VALUES]
            for text in texts
        ]
        return self.sense * normalize(torch.tensor(rows), dim=1)

    def embed_images(self, images: Tensor) -> Tensor:
        return normalize(images, dim=1)


@pytest.fixture
def scenes_as_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(scenes: Sequence[Scene]) -> Tensor:
        return torch.tensor([[float(facts(scene)[name] == value) for name, value in VALUES] for scene in scenes])

    monkeypatch.setattr(retrieval, "draw", draw)


def told(count: int) -> dict[str, dict[str, str]]:
    """A target text is told what the edit changes."""
    texts = {edit.target_text: {n: facts(edit.truth)[n] for n in edit.changed} for edit in held_out_edits(count)}
    return texts | dict(held_out_captions(count))


@pytest.mark.usefixtures("scenes_as_pictures")
def test_one_that_knows_everything_is_always_right() -> None:
    seen, scores = finish(score_clip(Knows(told(AMONG), 1.0), AMONG))  # type: ignore[arg-type]
    values = {score.name: score.value for score in scores}
    assert [(each.stage, each.step, each.total) for each in seen] == [
        ("held-out scenes", AMONG, AMONG),
        ("held-out edits", AMONG, AMONG),
    ]
    assert all(score.count == AMONG for score in scores)
    assert values[FINDS_PICTURE] == values[FINDS_CAPTION] == 1
    # An edit of a caption's text that a target text shares is told the caption's facts; hence not quite all.
    assert values[PREFERS_TRUTH] > 0.95


@pytest.mark.usefixtures("scenes_as_pictures")
def test_one_that_says_the_opposite_is_always_wrong_and_chance_lies_between() -> None:
    _, scores = finish(score_clip(Knows(told(AMONG), -1.0), AMONG))  # type: ignore[arg-type]
    values = {score.name: score.value for score in scores}
    assert values[FINDS_PICTURE] < 0.05
    assert values[PREFERS_TRUTH] < 0.05
    captions = held_out_captions(AMONG)
    shown = [facts(sample_scene(seed, held_out=True)) for seed in range(AMONG)]
    fits = [all(fact[k] == v for k, v in named.items()) for _, named in captions for fact in shown]
    assert values[CHANCE] == pytest.approx(sum(fits) / len(fits))
