"""Edits with a known truth: a scene, a sentence, and the scene that the sentence asks for, in the six groups of Imagic
(Kawar et al. 2023, Fig. 8). The truth shows the same individual in the same place, and only the asked fact differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.menagerie import facts as world
from imagic.menagerie.bodies import fit_in_picture
from imagic.menagerie.captions import describe
from imagic.menagerie.facts import NONE, facts
from imagic.menagerie.instructions import instruction
from imagic.menagerie.render import render
from imagic.menagerie.sampling import HELD_OUT_OFFSET, is_held_out, sample_ball, sample_scene
from imagic.menagerie.scenes import Animal, Scene
from imagic.menagerie.variants import (
    other_posture,
    other_relation,
    places_for,
    with_colour,
    with_place,
    with_relation,
)

GROUPS = ("posture", "composition", "addition", "colour", "style", "background")
ADDITIONS = ("hat", "scarf", "ball")
SEEDS_PER_SET = 1_000_000  # edits that one seed of a set can have in each group
MASK_THRESHOLD = 0.04  # of the range [-1, 1]: five of 255 levels
MASK_MARGIN = 2 / 128  # how far a mask reaches beyond what differs, in image widths


@dataclass(frozen=True)
class Edit:
    """item: a name of its own. changed: the facts in which source and truth differ.

    target_text describes the truth and source_text the source, in the same words but for what changes; instruction
    asks for the change.
    """

    item: str
    group: str
    source: Scene
    truth: Scene
    target_text: str
    source_text: str
    instruction: str
    changed: frozenset[str]

    def mask(self, size: int, device: torch.device | str = "cpu") -> Tensor:
        """Where the edit may change the picture: (1, size, size), 0 or 1. A style changes all of it."""
        if self.group == "style":
            return torch.ones(1, size, size, device=device)
        source, truth = render([self.source, self.truth], size, device)
        differs = ((truth - source).abs().amax(0, keepdim=True) > MASK_THRESHOLD).float()
        margin = max(1, round(size * MASK_MARGIN))
        return F.max_pool2d(differs, 2 * margin + 1, stride=1, padding=margin)


def held_out_edits(limit: int, seed: int = 0) -> list[Edit]:
    """The first `limit` edits of a held-out set: the groups take turns, and fewer edits are the start of more."""
    return _edits(limit, seed, held_out=True)


def training_edits(limit: int, seed: int = 0) -> list[Edit]:
    """The same from training scenes; neither sources nor truths show a held-out combination of facts."""
    return _edits(limit, seed, held_out=False)


def _edits(limit: int, seed: int, *, held_out: bool) -> list[Edit]:
    first = seed * SEEDS_PER_SET
    return [sample_edit(first + i // len(GROUPS), GROUPS[i % len(GROUPS)], held_out=held_out) for i in range(limit)]


def sample_edit(seed: int, group: str, *, held_out: bool = False) -> Edit:
    """The edit of a seed in a group. Neighbouring seeds take turns in what they ask for."""
    if group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(GROUPS)}, not {group}")
    rng = np.random.default_rng([seed, GROUPS.index(group), int(held_out)])
    while True:
        scene = sample_scene(int(rng.integers(HELD_OUT_OFFSET)), held_out=held_out)
        source = replace(scene, style="plain")  # as photographs are
        pair = _change(source, group, seed, rng)
        if pair is not None:
            break
    source, truth = pair
    before, after = facts(source), facts(truth)
    changed = frozenset(name for name in before if before[name] != after[name])
    target_text, source_text = _texts(source, truth, changed, rng)
    return Edit(
        item=f"{'held-out' if held_out else 'training'}-{group}-{seed}",
        group=group,
        source=source,
        truth=truth,
        target_text=target_text,
        source_text=source_text,
        instruction=instruction(before, after),
        changed=changed,
    )


def _change(source: Scene, group: str, seed: int, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    """Source and truth, or None where the scene does not suit what the seed asks for."""
    match group:
        case "posture":
            return _posture(source, rng)
        case "composition":
            return _relation(source, rng) if seed % 2 == 0 else _facing(source)
        case "addition":
            return _addition(source, ADDITIONS[seed % len(ADDITIONS)], rng)
        case "colour":
            return _colour(source, rng)
        case "style":
            return _style(source, seed)
        case _:
            return _background(source, rng)


def _posture(source: Scene, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    if len(source.animals) == 2:
        return None
    return source, other_posture(source, rng)


def _relation(source: Scene, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    if len(source.animals) == 1:
        return None
    truth = other_relation(source, rng)
    if truth.relation == "kissing":
        # Two that kiss share one build; they have it before and after.
        source = with_relation(truth, source.relation)
        truth = with_relation(source, truth.relation)
    return source, truth


def _facing(source: Scene) -> tuple[Scene, Scene] | None:
    if len(source.animals) == 2:
        return None
    (animal,) = source.animals
    turned = replace(animal, facing="left" if animal.facing == "right" else "right")
    return (source, replace(source, animals=(turned,))) if _fits(turned) else None


def _addition(source: Scene, kind: str, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    if facts(source)[kind] != NONE:
        return None
    if kind == "ball":
        return source, replace(source, things=(*source.things, sample_ball(rng, source.animals[0].y)))
    if len(source.animals) == 2:
        return None
    (animal,) = source.animals
    accent = str(rng.choice(world.ACCENTS))
    dressed = replace(animal, hat=accent) if kind == "hat" else replace(animal, scarf=accent)
    return (source, replace(source, animals=(dressed,))) if _fits(dressed) else None


def _colour(source: Scene, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    species, old = source.animals[0].species, source.animals[0].coat.colour
    new = [c for c in world.colours_of(species) if c != old and not is_held_out(species, c, source.place)]
    return source, with_colour(source, str(rng.choice(new)), rng)


def _style(source: Scene, seed: int) -> tuple[Scene, Scene] | None:
    style = world.STYLES[1 + seed % (len(world.STYLES) - 1)]
    if style == "pixel art" and len(source.animals) == 2:
        return None
    return source, replace(source, style=style)


def _background(source: Scene, rng: np.random.Generator) -> tuple[Scene, Scene] | None:
    species, colour = source.animals[0].species, source.animals[0].coat.colour
    new = [place for place in places_for(source) if place != source.place and not is_held_out(species, colour, place)]
    return source, with_place(source, str(rng.choice(new)), rng)


def _fits(animal: Animal) -> bool:
    return fit_in_picture(animal, (animal.posture,)) == animal


def _texts(source: Scene, truth: Scene, changed: frozenset[str], rng: np.random.Generator) -> tuple[str, str]:
    """Target and source text: short, usual words for the species, for what changes, and sometimes for a little more."""
    names = {"species", *changed} | {name for name in ("colour", "place") if rng.random() < 0.22}
    if rng.random() < 0.3:
        names.add("style")
    if "posture" not in changed and rng.random() < 0.15:
        names.add("posture")
    # "a lying dog" is less usual than "a dog lying down".
    adjectives = truth.animals[0].posture != "lying down" and bool(rng.random() < 0.5)
    return describe(truth, names, adjectives=adjectives), describe(source, names, adjectives=adjectives)
