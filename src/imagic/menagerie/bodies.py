"""Bodies: whole animals as strokes, and how one or two of them are placed in the picture."""

from __future__ import annotations

import math
from dataclasses import replace

from imagic.menagerie.anatomy import FRAMES
from imagic.menagerie.bird import bird_joints, draw_bird
from imagic.menagerie.postures import quadruped_joints
from imagic.menagerie.quadruped import draw_quadruped
from imagic.menagerie.scenes import Animal
from imagic.menagerie.strokes import Pen, Point, Stroke

FACING_GAP = 0.13  # between the snouts of two animals that face each other, in image widths
KISSING_GAP = -0.008


def strokes_of(animal: Animal) -> list[Stroke]:
    """The strokes of one animal, back to front, without its shadow."""
    pen = _pen(animal)
    if animal.species == "bird":
        draw_bird(pen)
    else:
        draw_quadruped(pen)
    return pen.strokes


def snout_tip(animal: Animal) -> Point:
    """Where the snout (or beak) ends, in image coordinates: two animals kiss where these meet."""
    joints = bird_joints(animal) if animal.species == "bird" else quadruped_joints(animal)
    (hx, hy), (sx, sy) = joints["head"], joints["snout"]
    length = math.hypot(sx - hx, sy - hy)
    radius = FRAMES[animal.species].snout * animal.shape[4]
    reach = (length + radius) / length
    return _pen(animal).at((hx + (sx - hx) * reach, hy + (sy - hy) * reach))


def fit_in_picture(animal: Animal, postures: tuple[str, ...], margin: float = 0.02) -> Animal:
    """The animal moved, and shrunk where it must be, so that it stays in the picture in each of `postures`."""
    for _ in range(20):
        strokes = [s for posture in postures for s in strokes_of(replace(animal, posture=posture))]
        left = min(min(s.ax - s.ra, s.bx - s.rb) for s in strokes)
        right = max(max(s.ax + s.ra, s.bx + s.rb) for s in strokes)
        top = min(min(s.ay - s.ra, s.by - s.rb) for s in strokes)
        if right - left > 1 - 2 * margin or top < margin:
            animal = replace(animal, size=animal.size * 0.96)
            continue
        return replace(animal, x=animal.x + max(margin - left, 0.0) - max(right - 1 + margin, 0.0))
    return animal


def place_pair(animals: tuple[Animal, ...], relation: str) -> tuple[Animal, ...]:
    """Two animals placed by their relation around the middle of the picture.

    apart: back to back; facing: turned to each other with a gap; kissing: their snouts touch, at one height.
    """
    left, right = animals
    if relation == "apart":
        return replace(left, facing="left", x=0.29), replace(right, facing="right", x=0.71)
    left, right = replace(left, facing="right", x=0.25), replace(right, facing="left", x=0.75)
    wanted = FACING_GAP
    if relation == "kissing":
        # The same pose and frame for both, so that the snouts meet at one height on one ground line.
        right = replace(right, pose=left.pose, shape=left.shape, size=left.size, y=left.y)
        wanted = KISSING_GAP
    closer = (snout_tip(right)[0] - snout_tip(left)[0] - wanted) / 2
    return replace(left, x=left.x + closer), replace(right, x=right.x - closer)


def _pen(animal: Animal) -> Pen:
    return Pen(animal, animal.size * FRAMES[animal.species].size)
