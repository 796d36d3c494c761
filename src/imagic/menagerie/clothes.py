"""Clothes: the hat and the scarf that an animal of any species may wear."""

from __future__ import annotations

import math

from imagic.menagerie.facts import NONE
from imagic.menagerie.palette import ACCENT_RGB, scaled
from imagic.menagerie.strokes import Pen, Point, mix


def draw_hat(pen: Pen, head: Point, radius: float) -> None:
    """The animal's hat, if it wears one, on a head of this radius."""
    if pen.animal.hat == NONE:
        return
    rgb = ACCENT_RGB[pen.animal.hat]
    x, y = head[0] - radius * 0.05, head[1] + radius * 0.85
    crown = 0.5 * radius + 0.075  # small enough to leave ears and horns in sight
    pen.draw((x, y), (x, y + crown * 0.95), crown * 0.80, crown * 0.60, rgb=rgb, shade=0.7)
    left, right = (x - crown * 1.25, y), (x + crown * 1.25, y)
    pen.draw(left, right, crown * 0.22, crown * 0.22, rgb=scaled(rgb, 0.85), shade=0.6)


def draw_scarf(pen: Pen, chest: Point, head: Point, radius: float, head_radius: float) -> None:
    """The animal's scarf, if it wears one, across a neck of this radius below the head, with an end that hangs down."""
    if pen.animal.scarf == NONE:
        return
    rgb = ACCENT_RGB[pen.animal.scarf]
    length = math.hypot(head[0] - chest[0], head[1] - chest[1])
    middle = mix(chest, head, min(max(1 - 1.15 * head_radius / length, 0.1), 0.58))
    across = ((head[1] - chest[1]) / length, -(head[0] - chest[0]) / length)
    reach, width = radius * 0.72, max(radius * 0.36, 0.075)
    a = (middle[0] + across[0] * reach, middle[1] + across[1] * reach)
    b = (middle[0] - across[0] * reach, middle[1] - across[1] * reach)
    end = (a[0] - 0.02, a[1] - radius * 1.5)
    pen.draw(mix(a, b, 0.3), end, width * 0.85, width * 1.05, rgb=scaled(rgb, 0.82), shade=0.6)
    pen.draw(a, b, width, width, rgb=rgb, shade=0.7)
