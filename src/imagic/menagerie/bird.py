"""The bird: a body on two thin legs, with wings that are folded or spread, drawn back to front."""

from __future__ import annotations

from imagic.menagerie.anatomy import FRAMES
from imagic.menagerie.clothes import draw_hat, draw_scarf
from imagic.menagerie.heads import draw_eye
from imagic.menagerie.palette import BEAK, scaled
from imagic.menagerie.scenes import Animal
from imagic.menagerie.strokes import Pen, Point, along, mix

FEATHERS = 4  # strokes of a spread wing


def bird_joints(animal: Animal) -> dict[str, Point]:
    """The joints of a bird, the same in both postures: rump, chest, head and snout (the beak's tip)."""
    f, s, p = FRAMES["bird"], animal.shape, animal.pose
    girth = f.girth * s[1]
    rump = (-f.torso * s[7] * 0.34, f.leg * s[0] + girth * 0.95)
    chest = along(rump, 26 + 8 * p[0], f.torso * s[7] * 0.72)
    head = along(chest, f.neck_angle * s[9] + 8 * p[3], f.head * s[3] * 0.8 + f.neck * s[2] + girth * 0.45)
    snout = along(head, -8 + 9 * p[3], f.head * s[3] * 0.85 + f.muzzle * s[4])
    return {"rump": rump, "chest": chest, "head": head, "snout": snout}


def draw_bird(pen: Pen) -> None:
    """Draws the pen's animal with all it wears."""
    animal, j = pen.animal, bird_joints(pen.animal)
    f, s, p = FRAMES["bird"], animal.shape, animal.pose
    girth, head, spread = f.girth * s[1], f.head * s[3], animal.posture != "perched"
    shoulder = mix(j["chest"], j["rump"], 0.35)

    if spread:
        _far_wing(pen, (shoulder[0] + 0.08, shoulder[1] + 0.05))
    tail_angle = 205 + 10 * (s[8] - 1) / 0.14 + 6 * p[4]
    tail_tip = along(j["rump"], tail_angle, girth + f.tail * s[5])
    pen.draw(j["rump"], tail_tip, girth * 0.6, f.tail_width, tint=0.8, part=(3.0, 0.0))
    for x, tint in ((0.10, 0.7), (-0.04, 1.0)):
        rgb = scaled(BEAK, 0.8 * tint)
        foot = x + 0.02
        pen.draw((x, j["rump"][1] - girth * 0.5), (foot, 0.03), f.limb, f.limb, rgb=rgb)
        pen.draw((foot - 0.05, 0.03), (foot + 0.11, 0.03), f.limb, f.limb, rgb=rgb)
    pen.draw(j["rump"], j["chest"], girth * 0.9, girth, part=(0.0, 0.0))
    pen.draw(j["chest"], j["head"], girth * 0.8, head * 0.9, part=(1.0, 0.0))
    draw_scarf(pen, j["chest"], j["head"], head * 1.05, head)
    if not spread:
        _folded_wing(pen, shoulder, j["rump"], girth)
    pen.draw(mix(j["head"], j["snout"], 0.35), j["snout"], head * 0.42, f.snout, rgb=BEAK, shade=0.7)
    pen.draw(j["head"], j["head"], head, head, part=(2.0, 0.3))
    draw_eye(pen, (j["head"][0] + head * 0.40, j["head"][1] + head * 0.22), head * 0.24)
    if spread:
        _near_wing(pen, shoulder)
    draw_hat(pen, j["head"], head)


def _folded_wing(pen: Pen, shoulder: Point, rump: Point, girth: float) -> None:
    tip = (rump[0] - girth * 0.9, rump[1] - girth * 0.05)
    pen.draw(shoulder, tip, girth * 0.66, girth * 0.22, tint=0.80, part=(4.0, 0.0))
    root, tip = (shoulder[0] - 0.03, shoulder[1] - 0.04), (rump[0] - girth * 0.5, rump[1] - girth * 0.25)
    pen.draw(root, tip, girth * 0.42, girth * 0.16, tint=0.68, part=(5.0, 0.0))


def _far_wing(pen: Pen, root: Point) -> None:
    for index in range(FEATHERS):
        tip = along(root, 40 + 6 * pen.animal.pose[1] + 17 * index, 0.92 - 0.05 * index)
        pen.draw(root, tip, 0.11, 0.075, tint=0.72 - 0.03 * index, part=(4.0 + index, 0.0))


def _near_wing(pen: Pen, root: Point) -> None:
    for index in range(FEATHERS):
        tip = along(root, 158 + 6 * pen.animal.pose[2] - 17 * index, 1.0 - 0.05 * index)
        pen.draw(root, tip, 0.14, 0.085, tint=0.92 - 0.06 * index, part=(4.0 + index, 1.0))
