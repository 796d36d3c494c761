"""Training of the judge: facts by cross-entropy, individuals by contrast.

Each trio gives a positive pair (one individual in two pictures, which differ in what edits change) and the hardest of
negatives (another individual with the same facts in the same place); the other trios of the batch are the easy ones.
What an edit is asked to change must not count against the individual: one that knew it by its colour would find no
edit of a colour true. Its scenes are of every combination of facts: an instrument that knew which combinations exist
would use that as evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from imagic.menagerie.facts import FACTS
from imagic.menagerie.judge import FILE, Judge, Reader
from imagic.menagerie.training.augment import as_shown, augment
from imagic.menagerie.training.labels import labels, reading_loss
from imagic.menagerie.training.shards import Group, ShardStore
from imagic.menagerie.training.world import CHUNK, VIEWS, draw, stranger, tile, trio

TEMPERATURE = 0.1
IDENTITY_WEIGHT = 0.3
READER = "reader"
CALIBRATION = 1024  # individuals
CALIBRATION_SEED = 1 << 39  # above the seeds of any training run


TRIOS = Group("trios", lambda number: trio(number, held_out=None), VIEWS)


class JudgeTask:
    """Facts and individuals from pictures."""

    name = "judge"

    def __init__(self, store: ShardStore, device: torch.device | str = "cpu", calibration: int = CALIBRATION) -> None:
        """calibration: from how many individuals their threshold is set at the end."""
        self.store, self.device, self.calibration = store, device, calibration
        self.reader = Reader()

    def networks(self) -> dict[str, nn.Module]:
        return {READER: self.reader}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        scenes, pictures = self.store.batch(step, batch)
        images, mirrored = augment(pictures.to(self.device).float() / 127.5 - 1, VIEWS, noise)
        logits, embedding = self.reader(images)
        wanted = labels(as_shown(scenes, mirrored), images.device)
        reading = reading_loss(logits, wanted)
        contrast = identity_loss(embedding)
        right = {name: (logits[name].argmax(1) == wanted[name]).float().mean().item() for name in FACTS}
        loss = reading + IDENTITY_WEIGHT * contrast
        return loss, {
            "loss": loss.item(), "reading": reading.item(), "contrast": contrast.item(),
            "right": sum(right.values()) / len(right), "species": right["species"],
            "triplets": triplets_right(embedding).mean().item(),
        }  # fmt: skip

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        """Held-out trios; the judge has nothing to draw."""
        return tile(draw([scene for seed in range(8) for scene in trio(seed, held_out=True)], self.device), columns=6)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        judge = Judge(cast(Reader, networks[READER]), threshold=0.0)
        judge.threshold = calibrate(judge, self.device, self.calibration)
        judge.save(folder / FILE)


def identity_loss(embedding: Tensor) -> Tensor:
    """InfoNCE (van den Oord et al. 2018): each first view must find its second among all second and third views."""
    first, second, third = embedding.view(-1, VIEWS, embedding.shape[1]).unbind(1)
    scores = first @ torch.cat((second, third)).T / TEMPERATURE
    return F.cross_entropy(scores, torch.arange(len(first), device=scores.device))


def triplets_right(embedding: Tensor) -> Tensor:
    """Whether an individual's other picture is nearer than another individual of the same facts: (trios,) float."""
    first, second, third = embedding.detach().view(-1, VIEWS, embedding.shape[1]).unbind(1)
    return ((first * second).sum(1) > (first * third).sum(1)).float()


def calibrate(judge: Judge, device: torch.device | str, individuals: int = CALIBRATION) -> float:
    """The cosine at which as many individuals in another picture are missed as strangers of the same species and colour
    are taken for them, over scenes of the training world that no run sees; the middle, where a range of cosines does.

    Strangers, and not the trios' other individuals: those stand in the same place and may have nearly the same coat.
    At the cosine that keeps nine in ten of them apart, one in ten pictures of the right individual is refused.
    """
    cosines = []
    for first in range(0, individuals, CHUNK):
        numbers = range(first, min(first + CHUNK, individuals))
        trios = [trio(CALIBRATION_SEED + number, held_out=None) for number in numbers]
        strangers = [stranger(own[0], number, held_out=None) for own, number in zip(trios, numbers, strict=True)]
        views = [(own[0], own[1], other) for own, other in zip(trios, strangers, strict=True)]
        embedding = judge.embed(draw([scene for each in views for scene in each], device))
        one, two, other = embedding.view(len(numbers), VIEWS, -1).unbind(1)
        cosines.append(torch.stack(((one * two).sum(1), (one * other).sum(1))))
    return equal_error(*torch.cat(cosines, 1))


def equal_error(same: Tensor, other: Tensor) -> float:
    """The threshold that as many of `same` stay below as of `other` reach: cosines (N,) each, to 0.001."""
    grid = torch.linspace(-1, 1, 2001, device=same.device)
    missed = torch.searchsorted(same.sort().values, grid)
    taken = len(other) - torch.searchsorted(other.sort().values, grid)
    gap = (missed - taken).abs()
    return float(grid[gap == gap.min()].mean())
