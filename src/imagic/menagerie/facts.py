"""The vocabulary of the menagerie: which facts a scene has, and which values each can take.

A *fact* is what a caption may name and a judge can read back from the picture. The coat's pattern is not a fact: it is
never named, it is the identity that an edit must keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagic.menagerie.scenes import Scene

QUADRUPEDS = ("dog", "cat", "horse", "sheep", "cow")
SPECIES = (*QUADRUPEDS, "bird")
QUADRUPED_POSTURES = ("standing", "sitting", "lying down", "jumping")
BIRD_POSTURES = ("perched", "spreading its wings")
POSTURES = QUADRUPED_POSTURES + BIRD_POSTURES
COLOURS = ("black", "white", "grey", "brown", "orange")
BIRD_COLOURS = (*COLOURS, "blue", "red", "yellow")
OUTDOOR_PLACES = ("grass", "sand", "snow", "road")
INDOOR_PLACES = ("wooden floor", "red carpet")
PLACES = OUTDOOR_PLACES + INDOOR_PLACES
SKIES = ("clear", "cloudy", "sunset", "night")
ACCENTS = ("red", "blue", "green", "yellow")
RELATIONS = ("apart", "facing", "kissing")
FACINGS = ("left", "right")
STYLES = ("plain", "pencil sketch", "oil painting", "pixel art")
NONE = "none"

FACTS: dict[str, tuple[str, ...]] = {
    "species": SPECIES,
    "posture": POSTURES,
    "colour": BIRD_COLOURS,
    "place": PLACES,
    "sky": (NONE, *SKIES),
    "hat": (NONE, *ACCENTS),
    "scarf": (NONE, *ACCENTS),
    "ball": (NONE, *ACCENTS),
    "tree": (NONE, "tree"),
    "fence": (NONE, "fence"),
    "count": ("one", "two"),
    "relation": (NONE, *RELATIONS),
    "facing": (NONE, *FACINGS),
    "style": STYLES,
}


def postures_of(species: str) -> tuple[str, ...]:
    return BIRD_POSTURES if species == "bird" else QUADRUPED_POSTURES


def colours_of(species: str) -> tuple[str, ...]:
    return BIRD_COLOURS if species == "bird" else COLOURS


def facts(scene: Scene) -> dict[str, str]:
    """Every fact of a scene, one value of FACTS each. Two animals share species, posture and colour."""
    animal = scene.animals[0]
    things = {thing.kind: thing for thing in scene.things}
    pair = len(scene.animals) == 2
    return {
        "species": animal.species,
        "posture": animal.posture,
        "colour": animal.coat.colour,
        "place": scene.place,
        "sky": scene.sky,
        "hat": animal.hat,
        "scarf": animal.scarf,
        "ball": things["ball"].colour if "ball" in things else NONE,
        "tree": "tree" if "tree" in things else NONE,
        "fence": "fence" if "fence" in things else NONE,
        "count": "two" if pair else "one",
        "relation": scene.relation,
        "facing": NONE if pair else animal.facing,
        "style": scene.style,
    }
