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
    "dog": Frame(1.00, 0.84, 0.44, 0.205, 0.24, 50, 0.220, 0.21, 0.105, 0.36, 0.055, 0.085),
    "cat": Frame(1.00, 0.78, 0.36, 0.175, 0.14, 48, 0.240, 0.05, 0.085, 0.66, 0.050, 0.072),
    "horse": Frame(1.00, 0.92, 0.62, 0.210, 0.48, 56, 0.155, 0.29, 0.105, 0.48, 0.085, 0.078),
    "sheep": Frame(1.05, 0.72, 0.30, 0.305, 0.22, 36, 0.165, 0.16, 0.095, 0.14, 0.080, 0.070),
    "cow": Frame(1.02, 0.96, 0.40, 0.275, 0.26, 30, 0.205, 0.19, 0.145, 0.48, 0.034, 0.095),
    "bird": Frame(1.00, 0.68, 0.22, 0.260, 0.10, 60, 0.210, 0.20, 0.026, 0.40, 0.095, 0.032),
}
