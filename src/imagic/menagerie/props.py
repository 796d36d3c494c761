"""Things and shadows as strokes: trees, fences, balls, and the soft dark patch under whatever touches the ground."""

from __future__ import annotations

from imagic.menagerie.anatomy import FRAMES
from imagic.menagerie.palette import ACCENT_RGB, DARK
from imagic.menagerie.scenes import Animal, Rgb, Thing
from imagic.menagerie.strokes import Stroke

BARK: Rgb = (0.36, 0.24, 0.14)
LEAF: Rgb = (0.13, 0.42, 0.15)
WOOD: Rgb = (0.62, 0.48, 0.33)
WHITE: Rgb = (1.0, 1.0, 1.0)
SHADOW_OPACITY = 0.42


def shadow_of(animal: Animal) -> Stroke:
    """The animal's shadow: shorter and fainter the higher it jumps."""
    frame = FRAMES[animal.species]
    half = animal.size * frame.size * (0.34 if animal.posture == "sitting" else 0.5) * frame.torso
    opacity = SHADOW_OPACITY * (0.6 if animal.posture == "jumping" else 1.0)
    return _shadow(animal.x, animal.y + 0.006, half, 0.020, opacity=opacity, soft=0.016)


def strokes_of_thing(thing: Thing) -> list[Stroke]:
    """The strokes of one thing, back to front, with its shadow."""
    match thing.kind:
        case "tree":
            return _tree(thing)
        case "fence":
            return _fence(thing)
        case _:
            return _ball(thing)


def is_foreground(thing: Thing) -> bool:
    """Whether the thing is drawn in front of the animals."""
    return thing.kind == "ball"


def _shadow(x: float, y: float, half: float, radius: float, *, opacity: float, soft: float) -> Stroke:
    return Stroke(x - half, y, x + half, y, radius, radius, DARK, shade=0.0, opacity=opacity, soft=soft)


def _disc(x: float, y: float, radius: float, rgb: Rgb) -> Stroke:
    return Stroke(x, y, x, y, radius, radius, rgb)


def _tree(thing: Thing) -> list[Stroke]:
    a, b, c = thing.variety
    x, y, height = thing.x, thing.y, thing.size
    leaf = (LEAF[0] + 0.12 * a, LEAF[1] + 0.10 * b, LEAF[2] + 0.05 * c)
    dark = (leaf[0] * 0.78, leaf[1] * 0.78, leaf[2] * 0.78)
    width = height * (0.20 + 0.06 * c)
    top = y - height

    def blob(dx: float, dy: float, radius: float, rgb: Rgb) -> Stroke:
        disc = _disc(x + dx * width, top + dy * height, radius * width, rgb)
        return disc._replace(scale=height * 0.5, bump=0.012)

    return [
        _shadow(x, y + 0.004, width * 0.7, 0.014, opacity=0.3, soft=0.014),
        Stroke(x, y, x + 0.01 * (a - 0.5), top + height * 0.4, height * 0.062, height * 0.042, BARK),
        blob(-0.75, 0.46, 0.72, dark),
        blob(0.75, 0.44 + 0.05 * a, 0.72, dark),
        blob(0.0, 0.24 + 0.04 * b, 0.95, leaf),
        blob(0.35 * (a - 0.5), 0.48, 0.66, leaf),
    ]


def _fence(thing: Thing) -> list[Stroke]:
    a, b, c = thing.variety
    light = 0.8 + 0.4 * a
    rgb = (min(WOOD[0] * light, 1.0), min(WOOD[1] * light, 1.0), min(WOOD[2] * light, 1.0))
    rail = (rgb[0] * 0.85, rgb[1] * 0.85, rgb[2] * 0.85)
    step, thick = 0.15 + 0.05 * b, 0.012 + 0.004 * c
    strokes = [
        Stroke(-0.1, thing.y - thing.size * share, 1.1, thing.y - thing.size * share, thick, thick, rail, shade=0.7)
        for share in (0.34, 0.76)
    ]
    x = -0.05 + 0.1 * c
    while x < 1.05:
        strokes.append(Stroke(x, thing.y, x, thing.y - thing.size, thick * 1.35, thick * 1.35, rgb, shade=0.8))
        x += step
    return strokes


def _ball(thing: Thing) -> list[Stroke]:
    radius = thing.size / 2
    x, y = thing.x, thing.y - radius
    glint = _disc(x - radius * 0.35, y - radius * 0.38, radius * 0.16, WHITE)
    return [
        _shadow(x, thing.y, radius * 0.7, 0.011, opacity=0.4, soft=0.012),
        _disc(x, y, radius, ACCENT_RGB[thing.colour]),
        glint._replace(shade=0.0, opacity=0.6, soft=0.004),
    ]
