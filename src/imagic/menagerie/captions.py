"""Captions: sentences that name a random part of a scene's facts, as people do, and never a thing that is not there.

Every caption comes with the facts it names, so that a generated picture can be judged fact by fact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

import numpy as np

from imagic.menagerie import phrases
from imagic.menagerie.facts import FACTS, NONE, facts
from imagic.menagerie.phrases import vocabulary
from imagic.menagerie.scenes import Scene

__all__ = ["MAX_WORDS", "caption", "caption_with_facts", "describe", "vocabulary"]

MAX_WORDS = 30  # words and commas of a random caption: with its two marks it fits the model's 32 tokens

# How often a fact is named where it is present, in short and in long captions. The count goes with the noun.
SHORT_SHARE = 0.3
SHORT_NAMES = {"posture": 0.62, "colour": 0.2, "place": 0.2, "relation": 0.6, "sky": 0.06, "hat": 0.2, "scarf": 0.2}
SHORT_NAMES |= {"ball": 0.15, "tree": 0.12, "fence": 0.12, "facing": 0.06}
LONG_NAMES = {"posture": 0.74, "colour": 0.77, "place": 0.77, "relation": 0.8, "sky": 0.65, "facing": 0.7}
LONG_NAMES |= {"hat": 0.9, "scarf": 0.9, "ball": 0.85, "tree": 0.65, "fence": 0.65}
SPECIES_SHARE = 0.985
STYLE_SHARE = 0.95  # of the styles that are not plain
PHOTO_SHARE = 0.3  # of the plain ones
SHORT_EXTRAS, LONG_EXTRAS = 1, 4
EXTRAS = ("hat", "scarf", "ball", "tree", "fence", "sky", "facing")  # in the order in which people name them

Item = TypeVar("Item")


class _Usual:
    """Always the first wording, and never a liberty: canonical captions."""

    def __init__(self, adjectives: bool = False) -> None:
        self._adjectives = adjectives

    def adjective(self, share: float) -> bool:
        """Whether a posture goes before the noun."""
        return self._adjectives

    def chance(self, share: float) -> bool:
        return False

    def pick(self, values: Sequence[Item], usual: float = 0.0) -> Item:
        return values[0]


class _Dice(_Usual):
    """Quick random choices: numbers are drawn in blocks, for single draws from a numpy generator are slow."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self._numbers = self._draw(rng)

    @staticmethod
    def _draw(rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from rng.random(48).tolist()

    def adjective(self, share: float) -> bool:
        return self.chance(share)

    def chance(self, share: float) -> bool:
        return next(self._numbers) < share

    def pick(self, values: Sequence[Item], usual: float = 0.4) -> Item:
        """The first value with probability `usual`, else any of the others."""
        if len(values) == 1:
            return values[0]
        number = next(self._numbers)
        if number < usual:
            return values[0]
        return values[1 + int((number - usual) / (1 - usual) * (len(values) - 1))]


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption for training: any phrasing, any part of the facts, at most MAX_WORDS words and commas."""
    return caption_with_facts(scene, rng)[0]


def caption_with_facts(scene: Scene, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """A random caption and the facts it names, with their values."""
    values, dice = facts(scene), _Dice(rng)
    names = _choose(values, dice)
    text = _sentence(values, names, dice)
    while len(text.split()) + text.count(",") > MAX_WORDS:
        names.remove(next(name for name in reversed(EXTRAS) if name in names))
        text = _sentence(values, names, dice)
    return text, {name: values[name] for name in FACTS if name in names}


def describe(
    scene: Scene, names: Collection[str], rng: np.random.Generator | None = None, *, adjectives: bool = False
) -> str:
    """A caption that names these facts and no others, in the usual wording or, with rng, in a random one.

    adjectives: in the usual wording, "a sitting dog" instead of "a dog sitting".

    The count is always named, for a noun cannot do without; a fact that is "none" cannot be named and is left out.
    Many names make a text that is longer than the model reads.
    """
    unknown = set(names) - set(FACTS)
    if unknown:
        raise ValueError(f"no such facts: {', '.join(sorted(unknown))}")
    values = facts(scene)
    present = {name for name in names if values[name] != NONE}
    return _sentence(values, present, _Usual(adjectives) if rng is None else _Dice(rng))


def _choose(values: dict[str, str], dice: _Usual) -> set[str]:
    """The facts that a random caption names."""
    short = dice.chance(SHORT_SHARE)
    shares, most = (SHORT_NAMES, SHORT_EXTRAS) if short else (LONG_NAMES, LONG_EXTRAS)
    named = {name for name, share in shares.items() if values[name] != NONE and dice.chance(share)}
    extras = [name for name in EXTRAS if name in named]
    while len(extras) > most:
        extras.remove(dice.pick(extras, 1 / len(extras)))
    named = named.difference(EXTRAS).union(extras)
    if dice.chance(STYLE_SHARE if values["style"] != "plain" else PHOTO_SHARE):
        named.add("style")
    if dice.chance(SPECIES_SHARE):
        named.add("species")
    return named | {"count"}


def _sentence(values: dict[str, str], names: Collection[str], dice: _Usual) -> str:
    """The grammar: [style] determiner [adjectives] noun [doing] [where] [with what] [style]."""
    count = values["count"]
    two = count == "two"
    title, closing = _style(values["style"], "style" in names, dice)
    before: list[str] = []
    doing: list[str] = []
    _act(values, names, dice, before, doing, whole=not title)
    cover = ""
    if "colour" in names:
        colour = dice.pick(phrases.COLOURS[values["colour"]], 0.7)
        if dice.chance(0.05):
            hair = phrases.COVERS.get(values["species"], phrases.COVER) if "species" in names else phrases.COVER
            cover = f"with {colour} {dice.pick(hair, 0.7)}"
        else:
            before.insert(0 if dice.chance(0.3) else len(before), colour)
    noun = dice.pick(phrases.NOUNS[values["species"]] if "species" in names else phrases.ANY_ANIMAL, 0.88)[two]
    determiner = dice.pick(phrases.DETERMINERS[count], 0.88)
    head = " ".join([*before, noun])
    if determiner == "a" and head[0] in "aeiou":
        determiner = "an"
    where = dice.pick(phrases.PLACES[values["place"]]) if "place" in names else ""
    details = _details(values, names, dice)
    if cover:
        details.insert(0, cover)
    if doing or not dice.chance(0.12):
        parts = [determiner, head, *doing, where, *details]
    else:
        parts = [determiner, head, *details, where]
    text = " ".join(part for part in (title, *parts, closing) if part)
    return text.replace(" ,", ",").format_map(phrases.PRONOUNS[count])


def _style(style: str, named: bool, dice: _Usual) -> tuple[str, str]:
    """The words before and after the sentence that name its style."""
    if not named:
        return "", ""
    if style in phrases.STYLE_AFTER and dice.chance(0.2):
        return "", dice.pick(phrases.STYLE_AFTER[style])
    return dice.pick(phrases.STYLE_BEFORE[style], 0.6), ""


def _act(
    values: dict[str, str], names: Collection[str], dice: _Usual, before: list[str], doing: list[str], *, whole: bool
) -> None:
    """Posture and relation, before the noun, after it, or as the sentence's verb, which needs a whole sentence."""
    count, posture = values["count"], values["posture"]
    joining = phrases.JOINING[count][0 if whole else 1 :]
    predicate = False
    if "posture" in names:
        related = "relation" in names
        adjectives, attributes = phrases.POSTURE_BEFORE[posture], phrases.POSTURE_WITH.get(posture, ())
        if adjectives and dice.adjective(0.6 if related else 0.36):
            before.append(dice.pick(adjectives, 0.75))
        elif attributes and dice.chance(0.25):
            doing.append(dice.pick(attributes))
        elif whole and not related and dice.chance(0.08):
            doing.append(dice.pick(phrases.POSTURE_VERBS[count][posture]))
        else:
            predicate = dice.chance(0.15)
            doing += [dice.pick(joining, 0.7)] * predicate + [dice.pick(phrases.POSTURE_AFTER[posture], 0.7)]
    if "relation" in names:
        relation = values["relation"]
        adjectives, verbs = phrases.RELATION_BEFORE.get(relation, ()), phrases.RELATION_VERBS.get(relation, ())
        if adjectives and dice.chance(0.2):
            before.append(dice.pick(adjectives))
        elif whole and not doing and verbs and dice.chance(0.12):
            doing.append(dice.pick(verbs))
        else:
            joined = not predicate and dice.chance(0.15)
            doing += [dice.pick(joining, 0.7)] * joined + [dice.pick(phrases.RELATION_AFTER[relation], 0.6)]


def _details(values: dict[str, str], names: Collection[str], dice: _Usual) -> list[str]:
    """Worn things, things, facing and sky, in the usual order or any."""

    def accent(name: str) -> str:
        return dice.pick(phrases.COLOURS[values[name]])

    details = []
    worn = [
        template.format(accent=accent(name))
        for name, template in (("hat", phrases.HAT), ("scarf", phrases.SCARF))
        if name in names
    ]
    if worn:
        details.append(dice.pick(phrases.WORN, 0.5).format(what=f" {phrases.AND} ".join(worn)))
    if "ball" in names:
        details.append(dice.pick(phrases.BALL).replace("{accent}", accent("ball")))
    if "tree" in names:
        details.append(dice.pick(phrases.TREE))
    if "fence" in names:
        details.append(dice.pick(phrases.FENCE))
    if "facing" in names:
        details.insert(0, dice.pick(phrases.FACINGS[values["facing"]]))
    if "sky" in names:
        details.append((", " if dice.chance(0.25) else "") + dice.pick(phrases.SKIES[values["sky"]]))
    if len(details) > 1 and dice.chance(0.2):
        details.insert(0, details.pop(int(dice.chance(0.5)) + len(details) - 2))
    return details
