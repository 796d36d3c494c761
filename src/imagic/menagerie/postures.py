"""Postures: where the joints of a quadruped are, in its body frame.

A posture places hip, chest and legs; head and tail follow from them.
"""

from __future__ import annotations

from typing import NamedTuple

from imagic.menagerie.anatomy import FRAMES
from imagic.menagerie.scenes import Animal
from imagic.menagerie.strokes import Point, along

# Degrees by which the outer half of a tail hangs down, or curls up where below zero.
TAIL_BEND = {"dog": -38, "cat": -52, "horse": 62, "sheep": 40, "cow": 70}


class Stance(NamedTuple):
    """hip, chest: the torso's ends. legs: hands, feet, elbows and knees, near and far. tail_angle: in degrees."""

    hip: Point
    chest: Point
    legs: dict[str, Point]
    tail_angle: float


def quadruped_joints(animal: Animal) -> dict[str, Point]:
    """The joints of a quadruped in its posture: hip, chest, head, snout, the tail's root, mid and tip, and of each leg
    the hand or foot and the elbow or knee, near and far ("hand near")."""
    f, s, nod = FRAMES[animal.species], animal.shape, animal.pose[3]
    hip, chest, legs, tail_angle = _stance(animal)
    neck_angle = f.neck_angle * s[9] + 8 * nod
    if animal.posture == "sitting":
        neck_angle = min(neck_angle + 16, 82)
    gaze = -14 + 10 * nod
    if animal.posture == "jumping":
        gaze += 16
    head = along(chest, neck_angle, f.neck * s[2] + f.girth * 0.45)
    snout = along(head, gaze, f.head * s[3] * 0.75 + f.muzzle * s[4])
    return legs | {"hip": hip, "chest": chest, "head": head, "snout": snout} | _tail(animal, hip, tail_angle)


def _tail(animal: Animal, hip: Point, angle: float) -> dict[str, Point]:
    f, s = FRAMES[animal.species], animal.shape
    girth, half = f.girth * s[1], f.tail * s[5] * 0.5
    root = (hip[0] - girth * 0.75, hip[1] + girth * 0.35)
    if animal.posture == "sitting":
        root = (hip[0] - girth * 0.85, girth * 0.35)
    angle += 12 * (s[8] - 1) / 0.14
    bend = TAIL_BEND[animal.species]
    if animal.posture in ("sitting", "lying down"):
        bend = min(bend, 6)
    mid = along(root, angle, half)
    tip = along(mid, angle + bend, half)
    # A tail that would reach into the ground lies on it.
    return {"tail root": root, "tail mid": (mid[0], max(mid[1], 0.05)), "tail tip": (tip[0], max(tip[1], 0.04))}


def _stance(animal: Animal) -> Stance:
    f, s = FRAMES[animal.species], animal.shape
    leg, girth, torso = f.leg * s[0], f.girth * s[1], f.torso * s[7]
    match animal.posture:
        case "standing":
            return _standing(leg, girth, torso, animal.pose)
        case "sitting":
            return _sitting(girth, torso, animal.pose)
        case "lying down":
            return _lying(girth, torso, animal.pose)
        case _:
            return _jumping(leg, torso, animal.pose)


def _standing(leg: float, girth: float, torso: float, pose: tuple[float, ...]) -> Stance:
    lean, front, hind, _, wag, _ = pose
    hip = (-torso / 2, leg + girth * 0.55)
    chest = (torso / 2, hip[1] + 0.02 * lean)
    legs = {
        "hand near": (chest[0] + 0.03 + 0.05 * front, 0.03),
        "hand far": (chest[0] - 0.11 - 0.03 * front, 0.05),
        "foot near": (hip[0] - 0.05 + 0.05 * hind, 0.03),
        "foot far": (hip[0] + 0.10 - 0.03 * hind, 0.05),
        "elbow near": (chest[0] + 0.01, leg * 0.52),
        "elbow far": (chest[0] - 0.06, leg * 0.52),
        "knee near": (hip[0] + 0.05, leg * 0.52),
        "knee far": (hip[0] + 0.12, leg * 0.52),
    }
    return Stance(hip, chest, legs, 150.0 + 28 * wag)


def _sitting(girth: float, torso: float, pose: tuple[float, ...]) -> Stance:
    lean, front, _, _, wag, _ = pose
    hip = (-torso * 0.36, girth * 0.95)
    chest = along(hip, 56 + 5 * lean, torso * 0.92)
    knee = (hip[0] + 0.36 * torso, girth * 1.15)
    legs = {
        "hand near": (chest[0] + 0.05 + 0.03 * front, 0.03),
        "hand far": (chest[0] + 0.16 + 0.03 * front, 0.05),
        "foot near": (hip[0] + 0.42 * torso, 0.04),
        "foot far": (hip[0] + 0.50 * torso, 0.05),
        "elbow near": (chest[0] - 0.01, chest[1] * 0.48),
        "elbow far": (chest[0] + 0.08, chest[1] * 0.48),
        "knee near": knee,
        "knee far": (knee[0] + 0.06, knee[1]),
    }
    return Stance(hip, chest, legs, 168.0 + 12 * wag)


def _lying(girth: float, torso: float, pose: tuple[float, ...]) -> Stance:
    lean, front, hind, _, wag, _ = pose
    hip = (-torso * 0.5, girth * 0.92)
    chest = (torso * 0.46, girth * (0.98 + 0.05 * lean))
    legs = {
        "hand near": (chest[0] + 0.38 + 0.05 * front, 0.05),
        "hand far": (chest[0] + 0.28, 0.07),
        "foot near": (hip[0] + 0.42 + 0.04 * hind, 0.05),
        "foot far": (hip[0] + 0.50, 0.06),
        "elbow near": (chest[0] + 0.02, 0.07),
        "elbow far": (chest[0], 0.08),
        "knee near": (hip[0] + 0.20, girth * 1.0),
        "knee far": (hip[0] + 0.25, girth * 1.0),
    }
    return Stance(hip, chest, legs, 184.0 + 8 * wag)


def _jumping(leg: float, torso: float, pose: tuple[float, ...]) -> Stance:
    lean, front, hind, _, wag, height = pose
    hip = (-torso * 0.44, leg * 0.75 + (0.30 + 0.07 * height))
    chest = along(hip, 24 + 5 * lean, torso)
    legs = {
        "hand near": along(chest, -22 + 8 * front, leg * 1.25),
        "hand far": along(chest, -6 + 8 * front, leg * 1.2),
        "foot near": along(hip, 218 + 8 * hind, leg * 1.3),
        "foot far": along(hip, 232 + 8 * hind, leg * 1.2),
        "elbow near": along(chest, -48 + 6 * front, leg * 0.62),
        "elbow far": along(chest, -30 + 6 * front, leg * 0.6),
        "knee near": along(hip, 244 + 6 * hind, leg * 0.62),
        "knee far": along(hip, 256 + 6 * hind, leg * 0.6),
    }
    return Stance(hip, chest, legs, 168.0 + 22 * wag)
