"""Bodies: an animal as an articulated set of tapered capsules, in its own frame, drawn back to front.

The body frame has its origin on the ground under the body's middle, x forward, y up, and the torso's length as unit. A
posture is a choice of joints; the capsules, their coat coordinates and their order stay the same, so a coat follows
the posture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from imagic.menagerie.scenes import Animal, Rgb

SHAPE_SIZE = 10  # leg, girth, neck, head, muzzle, tail, ear, torso, tail angle, neck angle
POSE_SIZE = 6  # lean, front legs, hind legs, head, tail, height

Point = tuple[float, float]

ACCENT_RGB: dict[str, Rgb] = {
    "red": (0.86, 0.10, 0.12),
    "blue": (0.10, 0.25, 0.88),
    "green": (0.06, 0.60, 0.18),
    "yellow": (0.98, 0.85, 0.08),
}
DARK: Rgb = (0.07, 0.06, 0.07)
PINK: Rgb = (0.88, 0.66, 0.62)
HORN: Rgb = (0.88, 0.84, 0.70)
BEAK: Rgb = (0.96, 0.66, 0.12)


class Stroke(NamedTuple):
    """One tapered capsule in image coordinates (y down, unit: image width).

    coat: 1 when the coat's pattern is drawn on it; u, v: where its axis starts in coat coordinates (body lengths);
    scale: image widths per body length; flip: -1 when the body is mirrored; shade: how round it looks (0 flat);
    soft: width of the edge beyond one pixel; bump: height of woolly bumps along the rim.
    """

    ax: float
    ay: float
    bx: float
    by: float
    ra: float
    rb: float
    rgb: Rgb
    coat: float = 0.0
    u: float = 0.0
    v: float = 0.0
    scale: float = 1.0
    flip: float = 1.0
    shade: float = 1.0
    opacity: float = 1.0
    soft: float = 0.0
    bump: float = 0.0


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


@dataclass
class Pen:
    """Collects strokes, given in the body frame, as image coordinates."""

    animal: Animal
    unit: float
    strokes: list[Stroke] = field(default_factory=list)

    @property
    def side(self) -> float:
        return 1.0 if self.animal.facing == "right" else -1.0

    def at(self, point: Point) -> Point:
        return self.animal.x + self.side * self.unit * point[0], self.animal.y - self.unit * point[1]

    def draw(
        self,
        a: Point,
        b: Point,
        ra: float,
        rb: float,
        *,
        rgb: Rgb | None = None,
        tint: float = 1.0,
        part: Point | None = None,
        shade: float = 1.0,
        bump: float = 0.0,
    ) -> None:
        """A capsule from a to b. Without rgb it has the coat's colour times tint; part is its place in the coat."""
        base = rgb or _scaled(self.animal.coat.base, tint)
        (ax, ay), (bx, by) = self.at(a), self.at(b)
        self.strokes.append(
            Stroke(
                ax, ay, bx, by, ra * self.unit, rb * self.unit, base,
                coat=0.0 if part is None else 1.0,
                u=part[0] if part else 0.0,
                v=part[1] if part else 0.0,
                scale=self.unit,
                flip=self.side,
                shade=shade,
                bump=bump * self.unit,
            )
        )  # fmt: skip


def strokes_of(animal: Animal) -> list[Stroke]:
    """The strokes of one animal, back to front, without its shadow."""
    pen = Pen(animal, animal.size * FRAMES[animal.species].size)
    if animal.species == "bird":
        _bird(pen)
    else:
        _quadruped(pen)
    return pen.strokes


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


def snout_tip(animal: Animal) -> Point:
    """Where the snout (or beak) ends, in image coordinates: two animals kiss where these meet."""
    pen = Pen(animal, animal.size * FRAMES[animal.species].size)
    joints = _bird_joints(animal) if animal.species == "bird" else _joints(animal)
    (hx, hy), (sx, sy) = joints["head"], joints["snout"]
    length = math.hypot(sx - hx, sy - hy)
    reach = (length + joints_radius(animal)) / length
    return pen.at((hx + (sx - hx) * reach, hy + (sy - hy) * reach))


def joints_radius(animal: Animal) -> float:
    return FRAMES[animal.species].snout * animal.shape[4]


FACING_GAP = 0.15  # between the snouts of two animals that face each other, in image widths
KISSING_GAP = -0.008


def place_pair(animals: tuple[Animal, ...], relation: str) -> tuple[Animal, ...]:
    """Two animals placed by their relation around the middle of the picture.

    apart: back to back; facing: turned to each other with a gap; kissing: their snouts touch, at one height.
    """
    left, right = animals
    if relation == "apart":
        return replace(left, facing="left", x=0.26), replace(right, facing="right", x=0.74)
    left, right = replace(left, facing="right", x=0.25), replace(right, facing="left", x=0.75)
    wanted = FACING_GAP
    if relation == "kissing":
        # The same pose and frame for both, so that the snouts meet at one height on one ground line.
        right = replace(right, pose=left.pose, shape=left.shape, size=left.size, y=left.y)
        wanted = KISSING_GAP
    closer = (snout_tip(right)[0] - snout_tip(left)[0] - wanted) / 2
    return replace(left, x=left.x + closer), replace(right, x=right.x - closer)


def _scaled(rgb: Rgb, factor: float) -> Rgb:
    r, g, b = (min(value * factor, 1.0) for value in rgb)
    return r, g, b


def _along(start: Point, angle: float, length: float) -> Point:
    """The point `length` from start, `angle` degrees above the x axis."""
    return start[0] + length * math.cos(math.radians(angle)), start[1] + length * math.sin(math.radians(angle))


def _joints(animal: Animal) -> dict[str, Point]:
    """The joints of a quadruped in its posture (body frame)."""
    f, s, p = FRAMES[animal.species], animal.shape, animal.pose
    leg, girth, torso, neck = f.leg * s[0], f.girth * s[1], f.torso * s[7], f.neck * s[2]
    lean, front, hind, nod, wag, _ = p
    neck_angle = f.neck_angle * s[9] + 8 * nod
    gaze = -14 + 10 * nod
    match animal.posture:
        case "standing":
            hip = (-torso / 2, leg + girth * 0.55)
            chest = (torso / 2, hip[1] + 0.02 * lean)
            front_feet = (chest[0] + 0.03 + 0.05 * front, chest[0] - 0.11 - 0.03 * front)
            hind_feet = (hip[0] - 0.05 + 0.05 * hind, hip[0] + 0.10 - 0.03 * hind)
            joints = {
                "hand near": (front_feet[0], 0.03), "hand far": (front_feet[1], 0.05),
                "foot near": (hind_feet[0], 0.03), "foot far": (hind_feet[1], 0.05),
                "elbow near": (chest[0] + 0.01, leg * 0.52), "elbow far": (chest[0] - 0.06, leg * 0.52),
                "knee near": (hip[0] + 0.05, leg * 0.52), "knee far": (hip[0] + 0.12, leg * 0.52),
            }  # fmt: skip
            tail_angle = 150.0 + 28 * wag
        case "sitting":
            hip = (-torso * 0.36, girth * 0.95)
            chest = _along(hip, 56 + 5 * lean, torso * 0.92)
            knee = (hip[0] + 0.36 * torso, girth * 1.15)
            joints = {
                "hand near": (chest[0] + 0.05 + 0.03 * front, 0.03), "hand far": (chest[0] + 0.16 + 0.03 * front, 0.05),
                "foot near": (hip[0] + 0.42 * torso, 0.04), "foot far": (hip[0] + 0.50 * torso, 0.05),
                "elbow near": (chest[0] - 0.01, chest[1] * 0.48), "elbow far": (chest[0] + 0.08, chest[1] * 0.48),
                "knee near": knee, "knee far": (knee[0] + 0.06, knee[1]),
            }  # fmt: skip
            neck_angle = min(neck_angle + 16, 82)
            tail_angle = 168.0 + 12 * wag
        case "lying down":
            hip = (-torso * 0.5, girth * 0.92)
            chest = (torso * 0.46, girth * (0.98 + 0.05 * lean))
            joints = {
                "hand near": (chest[0] + 0.38 + 0.05 * front, 0.05), "hand far": (chest[0] + 0.28, 0.07),
                "foot near": (hip[0] + 0.42 + 0.04 * hind, 0.05), "foot far": (hip[0] + 0.50, 0.06),
                "elbow near": (chest[0] + 0.02, 0.07), "elbow far": (chest[0], 0.08),
                "knee near": (hip[0] + 0.20, girth * 1.0), "knee far": (hip[0] + 0.25, girth * 1.0),
            }  # fmt: skip
            tail_angle = 184.0 + 8 * wag
        case _:  # jumping
            rise = 0.30 + 0.07 * p[5]
            hip = (-torso * 0.44, leg * 0.75 + rise)
            chest = _along(hip, 24 + 5 * lean, torso)
            joints = {
                "hand near": _along(chest, -22 + 8 * front, leg * 1.25), "hand far": _along(chest, -6 + 8 * front, leg * 1.2),
                "foot near": _along(hip, 218 + 8 * hind, leg * 1.3), "foot far": _along(hip, 232 + 8 * hind, leg * 1.2),
                "elbow near": _along(chest, -48 + 6 * front, leg * 0.62), "elbow far": _along(chest, -30 + 6 * front, leg * 0.6),
                "knee near": _along(hip, 244 + 6 * hind, leg * 0.62), "knee far": _along(hip, 256 + 6 * hind, leg * 0.6),
            }  # fmt: skip
            tail_angle = 168.0 + 22 * wag
            gaze += 16
    head = _along(chest, neck_angle, neck + f.girth * 0.45)
    snout = _along(head, gaze, f.head * s[3] * 0.75 + f.muzzle * s[4])
    tail_root = (hip[0] - girth * 0.75, hip[1] + girth * 0.35)
    if animal.posture == "sitting":
        tail_root = (hip[0] - girth * 0.85, girth * 0.35)
    tail_angle += 12 * (s[8] - 1) / 0.14
    tail_mid = _along(tail_root, tail_angle, f.tail * s[5] * 0.5)
    droop = {"dog": -38, "cat": -52, "horse": 62, "sheep": 40, "cow": 70}[animal.species]
    if animal.posture in ("sitting", "lying down") and droop > 0:
        droop = 6
    tail_tip = _along(tail_mid, tail_angle + droop, f.tail * s[5] * 0.5)
    if tail_tip[1] < 0.04:
        tail_tip = (tail_tip[0], 0.04)
    return joints | {
        "hip": hip, "chest": chest, "head": head, "snout": snout,
        "tail root": tail_root, "tail mid": (tail_mid[0], max(tail_mid[1], 0.05)), "tail tip": tail_tip,
    }  # fmt: skip


def _quadruped(pen: Pen) -> None:
    animal = pen.animal
    species, f, s, j = animal.species, FRAMES[animal.species], animal.shape, _joints(animal)
    girth, head, limb = f.girth * s[1], f.head * s[3], f.limb * (0.5 + 0.5 * s[1])
    snout, wool = f.snout * s[4], 0.05 if species == "sheep" else 0.0
    hoof = DARK if species in ("horse", "cow", "sheep") else None
    folded = animal.posture in ("sitting", "lying down")
    thigh = girth * (0.80 if folded else 0.72)

    def leg(root: Point, middle: Point, end: Point, width: float, part: Point, tint: float) -> None:
        pen.draw(root, middle, width, limb * 1.05, tint=tint, part=part)
        pen.draw(middle, end, limb, limb * 0.78, tint=tint * 0.97, part=(part[0], part[1] + 0.5))
        paw = (end[0] + limb * 0.7, end[1])
        pen.draw(end, paw, limb * 0.85, limb * 0.7, rgb=hoof, tint=tint * 0.9)

    shoulder, rump = _mix(j["chest"], j["hip"], 0.06), _mix(j["hip"], j["chest"], 0.04)
    leg(shoulder, j["elbow far"], j["hand far"], girth * 0.45, (4.0, 1.0), 0.76)
    leg(rump, j["knee far"], j["foot far"], thigh * 0.8, (5.0, 1.0), 0.76)
    hair = _scaled(animal.coat.base, 0.62) if species in ("horse", "cow") else None
    pen.draw(j["tail root"], j["tail mid"], f.tail_width, f.tail_width * 0.9, tint=0.93, part=(6.0, 0.0))
    tip = f.tail_width * {"cow": 2.0, "horse": 1.05, "sheep": 1.0, "cat": 0.8, "dog": 0.55}[species]
    pen.draw(j["tail mid"], j["tail tip"], f.tail_width * 0.9, tip, rgb=hair, tint=0.93, part=None if hair else (6.4, 0.0))
    pen.draw(j["hip"], j["chest"], girth * 0.97, girth, part=(0.0, 0.0), bump=wool)
    leg(rump, j["knee near"], j["foot near"], thigh, (2.0, 1.0), 0.96)
    leg(shoulder, j["elbow near"], j["hand near"], girth * 0.5, (3.0, 1.0), 1.0)
    if species == "horse":
        mane = _scaled(animal.coat.base, 0.55)
        back = (j["chest"][0] - girth * 0.35, j["chest"][1] + girth * 0.55)
        pen.draw(back, (j["head"][0] - head * 0.75, j["head"][1] + head * 0.4), 0.07, 0.055, rgb=mane)
    pen.draw(j["chest"], j["head"], girth * 0.66, head * 0.86, part=(7.0, 0.0), bump=wool)
    if animal.scarf != "none":
        _scarf(pen, j["chest"], j["head"], max(girth * 0.62, head))
    _head(pen, j, head, snout)
    if animal.hat != "none":
        _hat(pen, j["head"], head)


def _head(pen: Pen, j: dict[str, Point], head: float, snout: float) -> None:
    animal, species = pen.animal, pen.animal.species
    hx, hy = j["head"]
    ear = animal.shape[6]
    face = 0.72 if species == "sheep" else 1.0
    muzzle = {"sheep": 0.62, "cow": 1.0, "horse": 0.86}.get(species, 1.05)
    match species:
        case "cat":
            pen.draw((hx + head * 0.35, hy + head * 0.6), (hx + head * 0.45, hy + head * 1.55 * ear), head * 0.32, 0.012, tint=0.75)
        case "horse":
            pen.draw((hx, hy + head * 0.6), (hx + head * 0.15, hy + head * 1.7 * ear), head * 0.28, 0.014, tint=0.75)
        case "cow":
            pen.draw((hx - head * 0.1, hy + head * 0.7), (hx + head * 0.25, hy + head * 1.75 * ear), head * 0.2, 0.02, rgb=HORN)
    pen.draw(j["head"], _mix(j["head"], j["snout"], 0.15), head, head * 0.94, tint=face, part=None if species == "sheep" else (8.0, 0.3))
    pen.draw(_mix(j["head"], j["snout"], 0.3), j["snout"], head * 0.62, snout, rgb=PINK if species == "cow" else None, tint=muzzle * face)
    match species:
        case "dog":
            pen.draw((hx - head * 0.35, hy + head * 0.55), (hx - head * 0.62, hy - head * 0.75 * ear), head * 0.30, head * 0.36, tint=0.62)
        case "cat":
            pen.draw((hx - head * 0.45, hy + head * 0.5), (hx - head * 0.55, hy + head * 1.55 * ear), head * 0.34, 0.012, tint=0.9)
        case "horse":
            pen.draw((hx - head * 0.35, hy + head * 0.5), (hx - head * 0.35, hy + head * 1.75 * ear), head * 0.30, 0.014, tint=0.9)
            pen.draw((hx - head * 0.1, hy + head * 0.95), (hx + head * 0.55, hy + head * 0.45), head * 0.25, head * 0.18, tint=0.55)
        case "sheep":
            pen.draw((hx - head * 0.5, hy + head * 0.35), (hx - head * 1.35 * ear, hy + head * 0.05), head * 0.30, head * 0.22, tint=0.6)
            pen.draw((hx - head * 0.45, hy + head * 0.75), (hx + head * 0.3, hy + head * 0.8), head * 0.52, head * 0.42, bump=0.04)
        case "cow":
            pen.draw((hx - head * 0.45, hy + head * 0.55), (hx - head * 0.30, hy + head * 1.75 * ear), head * 0.22, 0.02, rgb=HORN)
            pen.draw((hx - head * 0.6, hy + head * 0.3), (hx - head * 1.4 * ear, hy + head * 0.1), head * 0.26, head * 0.2, tint=0.8)
    sx, sy = j["snout"]
    pen.draw((sx + snout * 0.55, sy + snout * 0.45), (sx + snout * 0.55, sy + snout * 0.45), snout * 0.42, snout * 0.42, rgb=DARK, shade=0.3)
    _eye(pen, (hx + head * 0.42, hy + head * 0.28), head * 0.23)


def _eye(pen: Pen, at: Point, radius: float) -> None:
    pen.draw(at, at, radius, radius, rgb=(0.97, 0.97, 0.95), shade=0.0)
    pupil = (at[0] + radius * 0.3, at[1])
    pen.draw(pupil, pupil, radius * 0.62, radius * 0.62, rgb=DARK, shade=0.0)


def _hat(pen: Pen, head: Point, radius: float) -> None:
    rgb = ACCENT_RGB[pen.animal.hat]
    hx, hy = head[0] - radius * 0.05, head[1] + radius * 0.85
    crown = max(radius, 0.15)
    pen.draw((hx, hy), (hx, hy + crown * 0.95), crown * 0.80, crown * 0.60, rgb=rgb, shade=0.7)
    pen.draw((hx - crown * 1.35, hy), (hx + crown * 1.35, hy), crown * 0.22, crown * 0.22, rgb=_scaled(rgb, 0.85), shade=0.6)


def _scarf(pen: Pen, chest: Point, head: Point, radius: float) -> None:
    rgb = ACCENT_RGB[pen.animal.scarf]
    middle = _mix(chest, head, 0.58)
    length = math.hypot(head[0] - chest[0], head[1] - chest[1])
    across = ((head[1] - chest[1]) / length, -(head[0] - chest[0]) / length)
    reach = radius * 0.72
    a = (middle[0] + across[0] * reach, middle[1] + across[1] * reach)
    b = (middle[0] - across[0] * reach, middle[1] - across[1] * reach)
    width = max(radius * 0.36, 0.06)
    pen.draw(_mix(a, b, 0.3), (a[0] - 0.02, a[1] - radius * 1.5), width * 0.85, width * 1.05, rgb=_scaled(rgb, 0.82), shade=0.6)
    pen.draw(a, b, width, width, rgb=rgb, shade=0.7)


def _bird_joints(animal: Animal) -> dict[str, Point]:
    f, s, p = FRAMES["bird"], animal.shape, animal.pose
    leg, girth = f.leg * s[0], f.girth * s[1]
    tilt = 26 + 8 * p[0]
    rump = (-f.torso * s[7] * 0.34, leg + girth * 0.95)
    chest = _along(rump, tilt, f.torso * s[7] * 0.72)
    head = _along(chest, f.neck_angle * s[9] + 8 * p[3], f.head * s[3] * 0.8 + f.neck * s[2] + girth * 0.45)
    snout = _along(head, -8 + 9 * p[3], f.head * s[3] * 0.85 + f.muzzle * s[4])
    return {"rump": rump, "chest": chest, "head": head, "snout": snout, "leg": (0.02, leg)}


def _bird(pen: Pen) -> None:
    animal = pen.animal
    f, s, p, j = FRAMES["bird"], animal.shape, animal.pose, _bird_joints(animal)
    girth, head, spread = f.girth * s[1], f.head * s[3], animal.posture != "perched"
    (rx, ry), (cx, cy) = j["rump"], j["chest"]
    shoulder = _mix(j["chest"], j["rump"], 0.35)
    if spread:
        for index in range(4):
            angle = 40 + 6 * p[1] + 17 * index
            end = _along((shoulder[0] + 0.08, shoulder[1] + 0.05), angle, 0.92 - 0.05 * index)
            pen.draw((shoulder[0] + 0.08, shoulder[1] + 0.05), end, 0.11, 0.075, tint=0.72 - 0.03 * index, part=(4.0 + index, 0.0))
    tail_angle = 205 + 10 * (s[8] - 1) / 0.14 + 6 * p[4]
    pen.draw((rx, ry), _along((rx, ry), tail_angle, girth + f.tail * s[5]), girth * 0.6, f.tail_width, tint=0.8, part=(3.0, 0.0))
    for shift, tint in ((0.10, 0.7), (-0.04, 1.0)):
        foot = (shift + 0.02, 0.03)
        pen.draw((shift, ry - girth * 0.5), foot, f.limb, f.limb, rgb=_scaled(BEAK, 0.8 * tint))
        pen.draw((foot[0] - 0.05, 0.03), (foot[0] + 0.11, 0.03), f.limb, f.limb, rgb=_scaled(BEAK, 0.8 * tint))
    pen.draw((rx, ry), (cx, cy), girth * 0.9, girth, part=(0.0, 0.0))
    pen.draw(j["chest"], j["head"], girth * 0.8, head * 0.9, part=(1.0, 0.0))
    if animal.scarf != "none":
        _scarf(pen, j["chest"], j["head"], head * 1.05)
    if not spread:
        pen.draw(shoulder, (rx - girth * 0.9, ry - girth * 0.05), girth * 0.66, girth * 0.22, tint=0.80, part=(4.0, 0.0))
        pen.draw((shoulder[0] - 0.03, shoulder[1] - 0.04), (rx - girth * 0.5, ry - girth * 0.25), girth * 0.42, girth * 0.16, tint=0.68, part=(5.0, 0.0))
    pen.draw(_mix(j["head"], j["snout"], 0.35), j["snout"], head * 0.42, f.snout, rgb=BEAK, shade=0.7)
    pen.draw(j["head"], j["head"], head, head, part=(2.0, 0.3))
    _eye(pen, (j["head"][0] + head * 0.40, j["head"][1] + head * 0.22), head * 0.24)
    if spread:
        for index in range(4):
            angle = 158 + 6 * p[2] - 17 * index
            end = _along(shoulder, angle, 1.0 - 0.05 * index)
            pen.draw(shoulder, end, 0.14, 0.085, tint=0.92 - 0.06 * index, part=(4.0 + index, 1.0))
    if animal.hat != "none":
        _hat(pen, j["head"], head)


def _mix(a: Point, b: Point, weight: float) -> Point:
    return a[0] + (b[0] - a[0]) * weight, a[1] + (b[1] - a[1]) * weight
