"""The wording of captions: for every value of every fact, the phrases that may name it, the usual one first.

Slots in braces: {accent} a thing's colour, {its} its or their, {it} it or them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

Phrases = tuple[str, ...]
Table = Mapping[str, Phrases]

# species -> (singular, plural) pairs; the synonyms after the first are rare.
NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "dog": (("dog", "dogs"), ("puppy", "puppies"), ("hound", "hounds")),
    "cat": (("cat", "cats"), ("kitty", "kitties"), ("kitten", "kittens")),
    "horse": (("horse", "horses"), ("pony", "ponies"), ("mare", "mares")),
    "sheep": (("sheep", "sheep"), ("lamb", "lambs"), ("ram", "rams")),
    "cow": (("cow", "cows"), ("bull", "bulls"), ("calf", "calves")),
    "bird": (("bird", "birds"),),
}
ANY_ANIMAL = (("animal", "animals"),)
DETERMINERS: Table = {"one": ("a", "the", "one", ""), "two": ("two", "a pair of", "the two", "a couple of")}
COLOURS: Table = {
    "black": ("black",),
    "white": ("white",),
    "grey": ("grey", "gray"),
    "brown": ("brown",),
    "orange": ("orange",),
    "blue": ("blue",),
    "red": ("red",),
    "yellow": ("yellow",),
    "green": ("green",),
}
COVERS: Table = {"sheep": ("wool", "fur"), "bird": ("feathers",)}
COVER: Phrases = ("fur", "hair")

# A posture before the noun, after the noun or "is", as a verb, and as an attribute.
POSTURE_BEFORE: Table = {
    "standing": ("standing",),
    "sitting": ("sitting", "seated"),
    "lying down": ("lying", "resting"),
    "jumping": ("jumping", "leaping"),
    "perched": ("perched", "perching"),
    "spreading its wings": (),
}
POSTURE_AFTER: Table = {
    "standing": ("standing", "standing up", "standing still"),
    "sitting": ("sitting", "sitting down"),
    "lying down": ("lying down", "lying", "resting"),
    "jumping": ("jumping", "leaping", "jumping up", "jumping in the air"),
    "perched": ("perched", "perching"),
    "spreading its wings": ("spreading {its} wings", "stretching {its} wings", "opening {its} wings"),
}
POSTURE_VERBS: dict[str, Table] = {
    "one": {
        "standing": ("stands",),
        "sitting": ("sits", "sits down"),
        "lying down": ("lies", "lies down", "rests"),
        "jumping": ("jumps", "leaps"),
        "perched": ("perches",),
        "spreading its wings": ("spreads {its} wings", "opens {its} wings"),
    },
    "two": {  # two animals never jump
        "standing": ("stand",),
        "sitting": ("sit", "sit down"),
        "lying down": ("lie", "lie down", "rest"),
        "perched": ("perch",),
        "spreading its wings": ("spread {its} wings", "open {its} wings"),
    },
}
POSTURE_WITH: Table = {
    "perched": ("with folded wings", "with {its} wings folded", "with closed wings"),
    "spreading its wings": (
        "with spread wings",
        "with open wings",
        "with {its} wings open",
        "with {its} wings spread",
        "with outstretched wings",
    ),
}
RELATION_BEFORE: Table = {"kissing": ("kissing",)}
RELATION_AFTER: Table = {
    "apart": ("back to back", "facing away from each other", "looking away from each other", "apart"),
    "facing": ("facing each other", "looking at each other", "face to face"),
    "kissing": ("kissing", "kissing each other", "sharing a kiss"),
}
RELATION_VERBS: Table = {
    "facing": ("face each other", "look at each other"),
    "kissing": ("kiss", "kiss each other"),
}
JOINING: Table = {"one": ("is", "that is"), "two": ("are", "that are")}

PLACES: Table = {
    "grass": ("on the grass", "on grass", "in the grass", "in a meadow", "on a lawn", "in a field"),
    "sand": ("on the sand", "on sand", "at the beach", "on the beach", "on a beach", "in the sand"),
    "snow": ("in the snow", "on the snow", "in snow", "on snow", "in a snowy field"),
    "road": ("on a road", "on the road", "on the street", "on a street", "in the street"),
    "wooden floor": ("on a wooden floor", "on the wooden floor", "on a wood floor", "on wooden planks"),
    "red carpet": ("on a red carpet", "on the red carpet", "on red carpet", "on a red rug"),
}
SKIES: Table = {
    "clear": ("under a clear sky", "under a blue sky", "on a sunny day", "on a clear day", "in the sunshine"),
    "cloudy": (
        "under a cloudy sky",
        "on a cloudy day",
        "under the clouds",
        "under an overcast sky",
        "under a grey sky",
    ),
    "sunset": ("at sunset", "at dusk", "in the evening", "under a sunset sky", "in the evening light"),
    "night": ("at night", "under the moon", "in the moonlight", "under a night sky", "in the dark"),
}
WORN: Phrases = ("wearing {what}", "with {what}", "in {what}", "with {what} on")
HAT = "a {accent} hat"
SCARF = "a {accent} scarf"
AND = "and"
BALL: Phrases = (
    "next to a {accent} ball",
    "with a {accent} ball",
    "beside a {accent} ball",
    "near a {accent} ball",
    "by a {accent} ball",
    "with a {accent} ball next to {it}",
)
TREE: Phrases = (
    "by a tree",
    "in front of a tree",
    "near a tree",
    "next to a tree",
    "with a tree behind {it}",
    "with a tree in the background",
)
FENCE: Phrases = (
    "in front of a fence",
    "by a fence",
    "near a fence",
    "with a fence behind {it}",
    "with a fence in the background",
)
FACINGS: Table = {
    "left": ("facing left", "looking left", "looking to the left", "facing to the left", "turned to the left"),
    "right": ("facing right", "looking right", "looking to the right", "facing to the right", "turned to the right"),
}
STYLE_BEFORE: Table = {
    "plain": ("a photo of", "a picture of", "a photograph of", "an image of"),
    "pencil sketch": ("a pencil sketch of", "a sketch of", "a pencil drawing of", "a drawing of"),
    "oil painting": ("an oil painting of", "a painting of", "an oil painting showing"),
    "pixel art": ("pixel art of", "a pixel art picture of", "a pixel art image of"),
}
STYLE_AFTER: Table = {
    "pencil sketch": (", pencil sketch", "as a pencil sketch", "in pencil", "in the style of a pencil sketch"),
    "oil painting": (", oil painting", "as an oil painting", "in oil", "in the style of an oil painting"),
    "pixel art": (", pixel art", "as pixel art", "in pixel art style", "in the style of pixel art"),
}
PRONOUNS: dict[str, dict[str, str]] = {"one": {"its": "its", "it": "it"}, "two": {"its": "their", "it": "them"}}


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can contain, lower-case, sorted, once each."""
    return tuple(sorted({word for phrase in _phrases() for word in phrase.split() if word.isalpha()}))


def _phrases() -> Iterator[str]:
    """All phrases; the words in slots come from tables of their own, so the slots themselves are no words."""
    yield from ("an", AND, HAT, SCARF)
    yield from (*COVER, *WORN, *BALL, *TREE, *FENCE)
    for table in (
        DETERMINERS, COLOURS, COVERS, POSTURE_BEFORE, POSTURE_AFTER, POSTURE_WITH, *POSTURE_VERBS.values(),
        RELATION_BEFORE, RELATION_AFTER, RELATION_VERBS, JOINING, PLACES, SKIES, FACINGS, STYLE_BEFORE, STYLE_AFTER,
    ):  # fmt: skip
        yield from chain.from_iterable(table.values())
    for nouns in (*NOUNS.values(), ANY_ANIMAL):
        yield from chain.from_iterable(nouns)
    for pronouns in PRONOUNS.values():
        yield from pronouns.values()
