"""Scores of the bundled CLIP on held-out scenes: whether captions find pictures and pictures captions, and whether it
tells what an edit asks for from what was there before."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from imagic.core.encoder import Encoder
from imagic.core.types import Progress
from imagic.menagerie.edits import held_out_edits
from imagic.menagerie.facts import facts
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.score import ALL, Score, held_out_captions
from imagic.menagerie.training.world import draw

AMONG = 100  # pictures, or captions, to choose from
FINDS_PICTURE = f"CLIP finds a picture that fits a caption, among {AMONG}"
FINDS_CAPTION = f"CLIP finds a caption that fits a picture, among {AMONG}"
CHANCE = "a picture at random fits a caption"
PREFERS_TRUTH = "CLIP prefers an edit's truth to its source, by the target text"


@torch.no_grad()
def score_clip(encoder: Encoder, count: int) -> Generator[Progress, None, list[Score]]:
    """Over `count` held-out scenes, each with one random caption, and as many held-out edits; count: whole hundreds.

    A caption fits a picture that shows every fact it names, so that a short one has several answers.
    """
    by_text: list[bool] = []
    by_picture: list[bool] = []
    chance: list[float] = []
    captions = held_out_captions(count)
    for first in range(0, count, AMONG):
        scenes = [sample_scene(seed, held_out=True) for seed in range(first, first + AMONG)]
        texts, named = zip(*captions[first : first + AMONG], strict=True)
        shown = [facts(scene) for scene in scenes]
        fits = torch.tensor([[all(fact[k] == v for k, v in names.items()) for fact in shown] for names in named])
        cosines = (encoder.embed_texts(texts) @ _pictures(encoder, scenes).T).cpu()
        rows = torch.arange(AMONG)
        by_text += fits[rows, cosines.argmax(1)].tolist()
        by_picture += fits[cosines.argmax(0), rows].tolist()
        chance.append(float(fits.float().mean()))
        yield Progress("held-out scenes", first + AMONG, count)
    prefers: list[bool] = []
    edits = held_out_edits(count)
    for first in range(0, count, AMONG):
        chunk = edits[first : first + AMONG]
        wanted = encoder.embed_texts([edit.target_text for edit in chunk])
        truth, source = (_pictures(encoder, [getattr(e, side) for e in chunk]) for side in ("truth", "source"))
        prefers += ((wanted * truth).sum(1) > (wanted * source).sum(1)).tolist()
        yield Progress("held-out edits", first + AMONG, count)
    return [
        Score(FINDS_PICTURE, ALL, _mean(by_text), count),
        Score(FINDS_CAPTION, ALL, _mean(by_picture), count),
        Score(CHANCE, ALL, _mean(chance), count),
        Score(PREFERS_TRUTH, ALL, _mean(prefers), count),
    ]


def _pictures(encoder: Encoder, scenes: Sequence[Scene]) -> Tensor:
    return encoder.embed_images(draw(scenes))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
