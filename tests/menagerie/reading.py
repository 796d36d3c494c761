"""Reads facts from a sentence by its words alone: written apart from the grammar, to check it."""

from __future__ import annotations

import re

WORDS: dict[str, dict[str, str]] = {
    "species": {
        "dog": "dogs?|puppy|puppies|hounds?",
        "cat": "cats?|kitty|kitties|kittens?",
        "horse": "horses?|pony|ponies|mares?",
        "sheep": "sheep|lambs?|rams?",
        "cow": "cows?|bulls?|calf|calves",
        "bird": "birds?",
    },
    "posture": {
        "standing": "stands?|standing",
        "sitting": "sits?|sitting|seated",
        "lying down": "lies?|lying|rests?|resting",
        "jumping": "jumps?|jumping|leaps?|leaping",
        "perched": "perch|perche[sd]|perching|folded|closed",
        "spreading its wings": "spreads?|spreading|opens?|opening|stretching|outstretched",
    },
    "place": {
        "grass": "grass|meadow|lawn|a field",
        "sand": "sand|beach",
        "snow": "snow|snowy",
        "road": "road|street",
        "wooden floor": "wooden|wood",
        "red carpet": "red carpet|red rug",
    },
    "sky": {
        "clear": "clear sky|blue sky|sunny day|clear day|sunshine",
        "cloudy": "cloudy|clouds|overcast|grey sky",
        "sunset": "sunset|dusk|evening",
        "night": "night|moon|moonlight|the dark",
    },
    "tree": {"tree": "tree"},
    "fence": {"fence": "fence"},
    "relation": {
        "apart": "away from each other|back to back|apart",
        "facing": "facing each other|face each other|looking at each other|look at each other|face to face",
        "kissing": "kiss|kissing",
    },
    "facing": {
        "left": "(?:facing|looking|turned) (?:to the )?left",
        "right": "(?:facing|looking|turned) (?:to the )?right",
    },
    "style": {
        "pencil sketch": "sketch|pencil|drawing",
        "oil painting": "oil|painting",
        "pixel art": "pixel art",
        "plain": "photo|photograph|picture|image",
    },
}
COLOURS = "black|white|gr[ea]y|brown|orange|blue|red|yellow"
NO_COAT = r"\w+ (?:hat|scarf|ball|carpet|rug|sky)\b"


def read(text: str) -> dict[str, set[str]]:
    """fact -> all values that the text names, for the facts that it names at all."""
    found = {
        fact: {value for value, words in values.items() if re.search(rf"\b(?:{words})\b", text)}
        for fact, values in WORDS.items()
    }
    if "pixel art" in found["style"]:  # "a pixel art picture"
        found["style"].discard("plain")
    for thing in ("hat", "scarf", "ball"):
        found[thing] = set(re.findall(rf"(\w+) {thing}\b", text))
    found["colour"] = {
        colour.replace("gray", "grey") for colour in re.findall(rf"\b(?:{COLOURS})\b", re.sub(NO_COAT, "", text))
    }
    found["count"] = {"two" if re.search(r"\b(?:two|pair|couple)\b", text) else "one"}
    return {fact: values for fact, values in found.items() if values}
