"""Instructions: what a person asks for when one fact of a scene should change, in several wordings.

Slots in braces: {who} the animals, {do} what they should do, {its} its or their, and what the change itself names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imagic.menagerie import phrases
from imagic.menagerie.facts import NONE
from imagic.menagerie.phrases import Phrases, Table

USUAL = 0.4  # how often the first wording of several is taken
NAMED = 0.75  # how often the animals are named by their species, not "it"

ACT: Phrases = ("make {who} {do}", "let {who} {do}", "have {who} {do}", "{who} should {do}")
ACTS: Table = {
    "standing": ("stand up", "stand", "get up"),
    "sitting": ("sit down", "sit"),
    "lying down": ("lie down", "lie", "rest"),
    "jumping": ("jump", "leap", "jump up"),
    "perched": ("fold {its} wings", "close {its} wings", "perch"),
    "spreading its wings": ("spread {its} wings", "open {its} wings", "stretch {its} wings"),
    "apart": ("turn away from each other", "look away from each other", "face away from each other"),
    "facing": ("face each other", "look at each other"),
    "kissing": ("kiss each other", "kiss"),
    "left": ("face left", "look left", "look to the left", "turn left"),
    "right": ("face right", "look right", "look to the right", "turn right"),
}
RESTYLE: Phrases = ("turn it into {style}", "make it {style}", "turn this into {style}", "show it as {style}")
STYLES: Table = {
    "plain": ("a photo", "a photograph", "a picture"),
    "pencil sketch": ("a pencil sketch", "a sketch", "a pencil drawing"),
    "oil painting": ("an oil painting", "a painting"),
    "pixel art": ("pixel art", "a pixel art picture"),
}
RECOLOUR: Phrases = ("make {who} {colour}", "turn {who} {colour}", "change {who} to {colour}", "colour {who} {colour}")
MOVE: Phrases = ("put {who} {where}", "move {who} {where}", "show {who} {where}", "{who} should be {where}")
GIVE: Phrases = (
    "put a {accent} ball next to {who}",
    "add a {accent} ball",
    "place a {accent} ball beside {who}",
    "give {who} a {accent} ball",
)
DRESS: Phrases = (
    "put a {accent} {worn} on {who}",
    "give {who} a {accent} {worn}",
    "add a {accent} {worn}",
    "{who} should be wearing a {accent} {worn}",
)
REMOVE: Phrases = ("remove the {thing}", "take the {thing} away", "take away the {thing}", "without the {thing}")


def instruction(before: Mapping[str, str], after: Mapping[str, str], rng: np.random.Generator | None = None) -> str:
    """What asks for the facts `after` of a picture with the facts `before`, which differ in what one edit changes.

    In the usual wording or, with rng, in a random one. Raises ValueError for facts that no one edit makes.
    """
    changed = {name for name in after if before[name] != after[name]}

    def pick(wordings: Sequence[str]) -> str:
        if rng is None or len(wordings) == 1 or rng.random() < USUAL:
            return wordings[0]
        return wordings[int(rng.integers(1, len(wordings)))]

    two = after["count"] == "two"
    who = "the " + phrases.NOUNS[after["species"]][0][two]
    if rng is not None and rng.random() >= NAMED:
        who = phrases.PRONOUNS[after["count"]]["it"]
    its = phrases.PRONOUNS[after["count"]]["its"]
    for name in ("posture", "relation", "facing"):
        if name in changed:
            does = pick(ACTS[after[name]]).format(its=its)
            return _sentence(pick(ACT), who=who, do=does)
    if "style" in changed:
        return pick(RESTYLE).format(style=pick(STYLES[after["style"]]))
    if "colour" in changed:
        return pick(RECOLOUR).format(who=who, colour=after["colour"])
    for thing in ("ball", "hat", "scarf"):
        if thing in changed:
            if after[thing] == NONE:
                return pick(REMOVE).format(thing=thing)
            wordings = GIVE if thing == "ball" else DRESS
            return _sentence(pick(wordings), who=who, accent=after[thing], worn=thing)
    if "place" in changed:
        where = [pick(phrases.PLACES[after["place"]])]
        if "sky" in changed and after["sky"] != NONE:
            where.append(pick(phrases.SKIES[after["sky"]]))
        return _sentence(pick(MOVE), who=who, where=" ".join(where))
    raise ValueError(f"no instruction changes {', '.join(sorted(changed)) or 'nothing'}")


def _sentence(wording: str, *, who: str, **slots: str) -> str:
    """The wording with its slots filled; "them" that begins a sentence is "they"."""
    if wording.startswith("{who}"):
        who = "they" if who == "them" else who
    return wording.format(who=who, **slots)
