"""What a picture shows and its caption leaves unsaid, as numbers, and the encoder that adds them to the caption's
embedding while the diffusion model is trained.

Imagic describes one picture by an embedding near that of a sentence. It can, if the model knows embeddings that say
more than sentences do: this animal's markings and proportions, where it stands, the ground beneath it. Captions of the
web teach a large model such ones; in this world no sentence names an individual. So part of the captions have what they
do not say added to the last places of their embedding, at any strength, so that less of it still means the same. The
text decides all it names: the facts that it names are left out of the numbers. The encoder is not shipped, and nobody
can write what it says. A linear reader asks the UNet's deepest block on the way up for the same numbers, without which
nothing of them was learned from 26,000 pictures.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagic.menagerie.facts import FACTS, NONE, colours_of, facts, postures_of
from imagic.menagerie.sampling import BASE_COLOURS, sample_scene
from imagic.menagerie.scenes import Animal, Coat, Scene, Thing

UNSAID = "unsaid"  # the name of encoder and reader among the trained networks
PLACES = 8  # of the embedding, its last ones
SHARE = 0.8  # of the captions that have something added
EDITS = 0.5  # of these: what is added tells of another picture than the text, in one fact
LEAST_STRENGTH = 0.1
BLUR = 0.1  # how much the places' own strengths differ
GRID = 4  # cells each way in which features are read
KINDS = ("tree", "fence", "ball")
LASTING = ("species", "count")  # facts that no edit changes
# Where coats are looked at, in body coordinates: all over the trunk, and along the limbs.
POINTS = [(u, v) for u in np.linspace(0.05, 0.8, 8) for v in np.linspace(-0.2, 0.2, 5)]
POINTS += [(limb + step, side) for limb in range(1, 8) for step in (0.05, 0.22) for side in (0.0, 1.0)]
SOFTNESS = 4.0  # of the marks: steep enough to be seen, soft enough to be learned


@dataclass(frozen=True)
class Told:
    """numbers: (B, SIZE), see `unsaid`. shown: those of them that the picture shows. strengths: (B,), 0 where nothing
    is told. noise: (B, PLACES, 1)."""

    numbers: Tensor
    shown: Tensor
    strengths: Tensor
    noise: Tensor

    def to(self, device: torch.device | str) -> Told:
        return Told(*(values.to(device) for values in (self.numbers, self.shown, self.strengths, self.noise)))


class Unsaid(nn.Module):
    """Numbers (B, SIZE) to what is added to the last PLACES places of an embedding, (B, PLACES, width), and back from
    a network's features, (B, channels, h, w).

    level: the root mean square of what is added, learned from there on.
    """

    def __init__(self, width: int, channels: int, level: float = 0.5) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(SIZE, 384), nn.SiLU(), nn.Linear(384, PLACES * width))
        self.level = nn.Parameter(torch.tensor(level))
        self.norm = nn.LayerNorm(channels * GRID**2)
        self.read = nn.Linear(channels * GRID**2, SIZE)

    def forward(self, numbers: Tensor) -> Tensor:
        added: Tensor = self.layers(numbers).unflatten(1, (PLACES, self.width))
        return F.layer_norm(added, (self.width,)) * self.level

    def reading_loss(self, features: Tensor, told: Told) -> Tensor:
        """The mean squared error of the shown numbers read from the features of those that were told anything."""
        read = self.read(self.norm(F.adaptive_avg_pool2d(features.float(), GRID).flatten(1)))
        errors = (read.float() - told.shown).square().mean(1)
        any_told = (told.strengths > 0).float()
        return cast(Tensor, (errors * any_told).sum() / any_told.sum().clamp_min(1))


def tell(scenes: Sequence[Scene], named: Sequence[Collection[str]], rng: np.random.Generator) -> Told:
    """What captions leave unsaid of their scenes, or what was there before an edit to them, and how strongly most of
    them are told it. named: the facts that each caption names."""
    strengths = LEAST_STRENGTH ** rng.random(len(scenes))  # evenly spread in their logarithm
    strengths = np.where(rng.random(len(scenes)) < SHARE, strengths, 0.0)
    pairs = [_told_and_shown(*each, rng) for each in zip(scenes, named, strict=True)]
    numbers, shown = zip(*pairs, strict=True)
    noise = rng.standard_normal((len(scenes), PLACES, 1))
    return Told(*(torch.tensor(values, dtype=torch.float32) for values in (numbers, shown, strengths, noise)))


def _told_and_shown(scene: Scene, named: Collection[str], rng: np.random.Generator) -> tuple[list[float], list[float]]:
    if rng.random() < EDITS:
        return before_an_edit(scene, named, rng)
    numbers = unsaid(scene, named)
    return numbers, numbers


def before_an_edit(scene: Scene, named: Collection[str], rng: np.random.Generator) -> tuple[list[float], list[float]]:
    """All about a scene as if one of the facts in `named` had been another, and the same without that fact."""
    changeable = [name for name in FACTS if name in named and name not in LASTING]
    if not changeable:
        everything = unsaid(scene, ())
        return everything, everything
    name = changeable[rng.integers(len(changeable))]
    values = facts(scene)
    others = [value for value in _possible(name, values["species"]) if value != values[name]]
    before = {name: others[rng.integers(len(others))]}
    return unsaid(scene, (name,), before), unsaid(scene, (name,))


def _possible(name: str, species: str) -> Sequence[str]:
    """The values of a fact in scenes of a species."""
    if name == "posture":
        return postures_of(species)
    return colours_of(species) if name == "colour" else FACTS[name]


def add_unsaid(hidden: Tensor, encoder: Unsaid, told: Told) -> Tensor:
    """The captions' embeddings (B, L, width) with what they are told added."""
    added = encoder(told.numbers) * told.strengths[:, None, None] * (1 + BLUR * told.noise)
    return hidden + F.pad(added, (0, 0, hidden.shape[1] - PLACES, 0)).to(hidden)


def unsaid(scene: Scene, named: Collection[str], instead: Mapping[str, str] | None = None) -> list[float]:
    """Everything about a scene but the facts in `named`, each number of about the size of 1. instead: other values for
    some of these."""
    values = {name: value for name, value in facts(scene).items() if name not in named} | dict(instead or {})
    numbers = [float(values.get(name) == value) for name, known in FACTS.items() for value in known if value != NONE]
    animals = [_animal(animal) for animal in scene.animals]
    numbers += animals[0]
    numbers += animals[1] if len(animals) == 2 else [0.0] * len(animals[0])
    things = {thing.kind: thing for thing in scene.things}
    for kind in KINDS:
        numbers += _thing(things.get(kind) if kind not in named else None)
    numbers += [10 * (scene.horizon - 0.6), scene.light[0], 20 * (scene.light[1] - 1), scene.light[2]]
    return numbers + [2 * value - 1 for value in (*scene.ground, *scene.backdrop)]


def _animal(animal: Animal) -> list[float]:
    place = [6 * (animal.x - 0.5), 10 * (animal.y - 0.8), 10 * (animal.size - 0.4)]
    shape = [7 * (value - 1) for value in animal.shape]
    return [*place, *shape, *animal.pose, *_coat(animal.coat)]


def _coat(coat: Coat) -> list[float]:
    base = BASE_COLOURS[coat.colour]
    tints = [20 * (own - usual) for own, usual in zip(coat.base, base, strict=True)]
    contrast = [4 * (mark - own) for mark, own in zip(coat.mark, coat.base, strict=True)]
    return tints + contrast + [_mark(coat, u, v) for u, v in POINTS]


def _mark(coat: Coat, u: float, v: float) -> float:
    """-1 off a mark, 1 on it."""
    waves = zip(coat.weights, coat.waves, strict=True)
    total = sum(weight * math.cos(kx * u + ky * v + phase) for weight, (kx, ky, phase) in waves)
    return math.tanh(SOFTNESS / 2 * (total - coat.threshold))


def _thing(thing: Thing | None) -> list[float]:
    """Zeros for one that is not there, or that the caption names."""
    if thing is None:
        return [0.0] * 6
    return [1.0, 4 * (thing.x - 0.5), 5 * (thing.size - 0.3), *(2 * value - 1 for value in thing.variety)]


SIZE = len(unsaid(sample_scene(0), ()))  # how many numbers `unsaid` gives
