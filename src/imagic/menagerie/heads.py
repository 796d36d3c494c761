"""Heads: skull, muzzle, nose and eye of a quadruped, and the ears, horns, forelock or wool that its species has."""

from __future__ import annotations

from imagic.menagerie.anatomy import FRAMES
from imagic.menagerie.palette import DARK, EYE_WHITE, HORN, PINK
from imagic.menagerie.strokes import Pen, Point, mix

MUZZLE_TINT = {"dog": 1.08, "cat": 1.10, "horse": 0.80, "sheep": 0.90, "cow": 1.0}


def draw_head(pen: Pen, head: Point, snout: Point) -> None:
    """The head of a quadruped between two of its joints: the ear behind it, the face, the ear before it."""
    animal, species = pen.animal, pen.animal.species
    f, s = FRAMES[species], animal.shape
    radius, snout_radius = f.head * s[3], f.snout * s[4]
    face = 0.45 if species == "sheep" else 1.0
    _far_ear(pen, head, radius)
    skull_end = mix(head, snout, 0.15)
    pen.draw(head, skull_end, radius, radius * 0.94, tint=face, part=None if species == "sheep" else (8.0, 0.3))
    pink = PINK if species == "cow" else None
    pen.draw(mix(head, snout, 0.3), snout, radius * 0.62, snout_radius, rgb=pink, tint=MUZZLE_TINT[species] * face)
    _near_ear(pen, head, radius)
    nose = (snout[0] + snout_radius * 0.55, snout[1] + snout_radius * 0.45)
    pen.dot(nose, snout_radius * 0.42, rgb=DARK, shade=0.3)
    draw_eye(pen, (head[0] + radius * 0.42, head[1] + radius * 0.28), radius * 0.27)


def draw_eye(pen: Pen, at: Point, radius: float) -> None:
    """White and pupil of an eye."""
    pen.dot(at, radius, rgb=EYE_WHITE)
    pen.dot((at[0] + radius * 0.3, at[1]), radius * 0.62, rgb=DARK)


def _far_ear(pen: Pen, head: Point, r: float) -> None:
    """What stands behind the face: an ear, or a cow's far horn."""
    (x, y), ear = head, pen.animal.shape[6]
    match pen.animal.species:
        case "cat":
            tip = (x + r * 0.70, y + r * 1.75 * ear)
            pen.draw((x + r * 0.48, y + r * 0.55), tip, r * 0.38, 0.02, tint=0.75)
        case "horse":
            pen.draw((x, y + r * 0.6), (x + r * 0.15, y + r * 1.7 * ear), r * 0.28, 0.014, tint=0.75)
        case "cow":
            tip = (x + r * 0.70, y + r * 1.80 * ear)
            pen.draw((x + r * 0.1, y + r * 0.7), tip, r * 0.26, 0.03, rgb=HORN)


def _near_ear(pen: Pen, head: Point, r: float) -> None:
    """What stands before the face: an ear, with a forelock, wool or a horn where the species has one."""
    (x, y), ear = head, pen.animal.shape[6]
    match pen.animal.species:
        case "dog":
            tip = (x - r * 0.75, y - r * 0.95 * ear)
            pen.draw((x - r * 0.45, y + r * 0.50), tip, r * 0.30, r * 0.42, tint=0.55)
        case "cat":
            tip = (x - r * 0.75, y + r * 1.75 * ear)
            pen.draw((x - r * 0.50, y + r * 0.50), tip, r * 0.42, 0.02, tint=0.85)
        case "horse":
            tip = (x - r * 0.35, y + r * 1.75 * ear)
            pen.draw((x - r * 0.35, y + r * 0.5), tip, r * 0.30, 0.014, tint=0.9)
            pen.draw((x - r * 0.1, y + r * 0.95), (x + r * 0.55, y + r * 0.45), r * 0.25, r * 0.18, tint=0.55)
        case "sheep":
            tip = (x - r * 1.35 * ear, y + r * 0.05)
            pen.draw((x - r * 0.5, y + r * 0.35), tip, r * 0.30, r * 0.22, tint=0.6)
            pen.draw((x - r * 0.45, y + r * 0.75), (x + r * 0.3, y + r * 0.8), r * 0.52, r * 0.42, bump=0.04)
        case "cow":
            horn = (x - r * 0.60, y + r * 1.80 * ear)
            pen.draw((x - r * 0.45, y + r * 0.55), horn, r * 0.28, 0.03, rgb=HORN)
            tip = (x - r * 1.4 * ear, y + r * 0.1)
            pen.draw((x - r * 0.6, y + r * 0.3), tip, r * 0.26, r * 0.2, tint=0.8)
