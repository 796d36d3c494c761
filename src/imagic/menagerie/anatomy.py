"""Anatomy: the proportions that make a species, and how many numbers make an individual of it."""

from __future__ import annotations

from typing import NamedTuple

SHAPE_SIZE = 10  # leg, girth, neck, head, muzzle, tail, ear, torso, tail angle, neck angle
POSE_SIZE = 6  # lean, front legs, hind legs, head, tail, height


class Frame(NamedTuple):
    """Species constants in torso lengths: see SHAPE_SIZE for the individual factors on them."""

    size: float
    torso: float
    leg: float
    girth: float
    neck: float
    neck_angle: float
    head: float
    muzzle: float
    snout: float
    tail: float
    tail_width: float
    limb: float


FRAMES: dict[str, Frame] = {
    "dog": Frame(1.00, 0.95, 0.46, 0.200, 0.30, 50, 0.170, 0.19, 0.085, 0.50, 0.045, 0.075),
    "cat": Frame(0.98, 0.88, 0.38, 0.165, 0.20, 48, 0.175, 0.08, 0.075, 0.72, 0.042, 0.062),
    "horse": Frame(1.00, 1.00, 0.70, 0.205, 0.52, 56, 0.125, 0.28, 0.085, 0.52, 0.075, 0.070),
    "sheep": Frame(1.05, 0.80, 0.32, 0.300, 0.26, 36, 0.130, 0.15, 0.080, 0.14, 0.070, 0.060),
    "cow": Frame(1.02, 1.08, 0.44, 0.275, 0.30, 30, 0.165, 0.20, 0.115, 0.55, 0.028, 0.085),
    "bird": Frame(0.95, 0.70, 0.22, 0.260, 0.10, 60, 0.185, 0.20, 0.020, 0.42, 0.090, 0.028),
}
