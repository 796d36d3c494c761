"""The quadruped: legs, tail, torso, neck and head as strokes between its joints, drawn back to front.

The strokes, their coat coordinates and their order are the same in every posture, so a coat follows the posture.
"""

from __future__ import annotations

from imagic.menagerie.anatomy import FRAMES
from imagic.menagerie.clothes import draw_hat, draw_scarf
from imagic.menagerie.heads import draw_head
from imagic.menagerie.palette import DARK, scaled
from imagic.menagerie.postures import quadruped_joints
from imagic.menagerie.strokes import Pen, Point, mix

TAIL_TIP = {"cow": 2.0, "horse": 1.05, "sheep": 1.0, "cat": 0.8, "dog": 0.55}  # its width, in the tail's


def draw_quadruped(pen: Pen) -> None:
    """Draws the pen's animal with all it wears."""
    animal = pen.animal
    species, f, s, j = animal.species, FRAMES[animal.species], animal.shape, quadruped_joints(animal)
    girth, head = f.girth * s[1], f.head * s[3]
    wool = 0.05 if species == "sheep" else 0.0
    thigh = girth * (0.80 if animal.posture in ("sitting", "lying down") else 0.72)
    shoulder, rump = mix(j["chest"], j["hip"], 0.06), mix(j["hip"], j["chest"], 0.04)

    _leg(pen, (shoulder, j["elbow far"], j["hand far"]), girth * 0.45, (4.0, 1.0), 0.76)
    _leg(pen, (rump, j["knee far"], j["foot far"]), thigh * 0.8, (5.0, 1.0), 0.76)
    _tail(pen, j)
    pen.draw(j["hip"], j["chest"], girth * 0.97, girth, part=(0.0, 0.0), bump=wool)
    _leg(pen, (rump, j["knee near"], j["foot near"]), thigh, (2.0, 1.0), 0.96)
    _leg(pen, (shoulder, j["elbow near"], j["hand near"]), girth * 0.5, (3.0, 1.0), 1.0)
    if species == "horse":
        mane = scaled(animal.coat.base, 0.55)
        withers = (j["chest"][0] - girth * 0.35, j["chest"][1] + girth * 0.55)
        pen.draw(withers, (j["head"][0] - head * 0.75, j["head"][1] + head * 0.4), 0.07, 0.055, rgb=mane)
    pen.draw(j["chest"], j["head"], girth * 0.66, head * 0.86, part=(7.0, 0.0), bump=wool)
    draw_scarf(pen, j["chest"], j["head"], max(girth * 0.72, head), head)
    draw_head(pen, j["head"], j["snout"])
    draw_hat(pen, j["head"], head)


def _leg(pen: Pen, joints: tuple[Point, Point, Point], width: float, part: Point, tint: float) -> None:
    """joints: from the torso down. width: radius at the torso."""
    animal, (root, middle, end) = pen.animal, joints
    limb = FRAMES[animal.species].limb * (0.5 + 0.5 * animal.shape[1])
    hoof = DARK if animal.species in ("horse", "cow", "sheep") else None
    pen.draw(root, middle, width, limb * 1.05, tint=tint, part=part)
    pen.draw(middle, end, limb, limb * 0.78, tint=tint * 0.97, part=(part[0], part[1] + 0.5))
    pen.draw(end, (end[0] + limb * 0.7, end[1]), limb * 0.85, limb * 0.7, rgb=hoof, tint=tint * 0.9)


def _tail(pen: Pen, j: dict[str, Point]) -> None:
    species, width = pen.animal.species, FRAMES[pen.animal.species].tail_width
    hair = scaled(pen.animal.coat.base, 0.62) if species in ("horse", "cow") else None
    part = None if hair else (6.4, 0.0)
    pen.draw(j["tail root"], j["tail mid"], width, width * 0.9, tint=0.93, part=(6.0, 0.0))
    pen.draw(j["tail mid"], j["tail tip"], width * 0.9, width * TAIL_TIP[species], rgb=hair, tint=0.93, part=part)
