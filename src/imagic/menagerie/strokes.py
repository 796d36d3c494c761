"""Strokes: tapered capsules, of which all that stands in a picture is made, and the pen that draws them for an animal.

The body frame has its origin on the ground under the body's middle, x forward, y up, and the torso's length as unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from imagic.menagerie.palette import scaled
from imagic.menagerie.scenes import Animal, Rgb

Point = tuple[float, float]


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


@dataclass
class Pen:
    """Collects strokes, given in the body frame, as image coordinates. unit: image widths per body length."""

    animal: Animal
    unit: float
    strokes: list[Stroke] = field(default_factory=list)

    @property
    def side(self) -> float:
        """1 when the animal looks to the right, -1 when to the left."""
        return 1.0 if self.animal.facing == "right" else -1.0

    def at(self, point: Point) -> Point:
        """A point of the body frame in image coordinates."""
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
        (ax, ay), (bx, by) = self.at(a), self.at(b)
        stroke = Stroke(
            ax=ax,
            ay=ay,
            bx=bx,
            by=by,
            ra=ra * self.unit,
            rb=rb * self.unit,
            rgb=rgb or scaled(self.animal.coat.base, tint),
            coat=0.0 if part is None else 1.0,
            u=part[0] if part else 0.0,
            v=part[1] if part else 0.0,
            scale=self.unit,
            flip=self.side,
            shade=shade,
            bump=bump * self.unit,
        )
        self.strokes.append(stroke)

    def dot(self, at: Point, radius: float, *, rgb: Rgb, shade: float = 0.0) -> None:
        """A disc."""
        self.draw(at, at, radius, radius, rgb=rgb, shade=shade)


def along(start: Point, angle: float, length: float) -> Point:
    """The point `length` from start, `angle` degrees above the x axis."""
    return start[0] + length * math.cos(math.radians(angle)), start[1] + length * math.sin(math.radians(angle))


def mix(a: Point, b: Point, weight: float) -> Point:
    """The point between a (weight 0) and b (weight 1)."""
    return a[0] + (b[0] - a[0]) * weight, a[1] + (b[1] - a[1]) * weight
