"""Scenes as plain data: everything that a picture shows is written here, and nothing else is random."""

from __future__ import annotations

from dataclasses import dataclass

from imagic.menagerie.facts import NONE

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Coat:
    """colour: the word; base and mark: RGB in [0, 1]; pattern: how the marks lie; waves: three (kx, ky, phase) in body
    lengths, whose sum above `threshold` is a mark. Fixed to the body, so it follows the posture."""

    colour: str
    base: Rgb
    mark: Rgb
    pattern: str
    waves: tuple[tuple[float, float, float], ...]
    weights: tuple[float, float, float]
    threshold: float


@dataclass(frozen=True)
class Animal:
    """shape: individual proportions, factors around 1; pose: small deviations in a posture, in [-1, 1] (see anatomy).

    x: centre of the body, y: its ground line, size: the unit of the body frame; all in image widths."""

    species: str
    posture: str
    coat: Coat
    facing: str
    x: float
    y: float
    size: float
    shape: tuple[float, ...]
    pose: tuple[float, ...]
    hat: str = NONE
    scarf: str = NONE


@dataclass(frozen=True)
class Thing:
    """A tree, ball or fence. x, y: where it meets the ground; size: its height (a ball's diameter); in image widths."""

    kind: str
    colour: str
    x: float
    y: float
    size: float
    variety: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """sky is "none" indoors. relation is "none" for one animal. light: (from left -1 .. right 1, brightness, warmth).
    ground, backdrop: variation of the two backgrounds, in [0, 1]. horizon: y of the ground's far edge."""

    animals: tuple[Animal, ...]
    place: str
    sky: str
    relation: str
    things: tuple[Thing, ...]
    style: str
    horizon: float
    light: tuple[float, float, float]
    ground: tuple[float, ...]
    backdrop: tuple[float, ...]
