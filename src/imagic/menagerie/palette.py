"""The palette: colours that parts of bodies, clothes and things share, as RGB in [0, 1]."""

from __future__ import annotations

from imagic.menagerie.scenes import Rgb

ACCENT_RGB: dict[str, Rgb] = {
    "red": (0.86, 0.10, 0.12),
    "blue": (0.10, 0.25, 0.88),
    "green": (0.06, 0.60, 0.18),
    "yellow": (0.98, 0.85, 0.08),
}
DARK: Rgb = (0.07, 0.06, 0.07)
EYE_WHITE: Rgb = (0.97, 0.97, 0.95)
PINK: Rgb = (0.88, 0.66, 0.62)
HORN: Rgb = (0.88, 0.84, 0.70)
BEAK: Rgb = (0.96, 0.66, 0.12)


def scaled(rgb: Rgb, factor: float) -> Rgb:
    """The colour made darker or lighter, at most white."""
    r, g, b = (min(value * factor, 1.0) for value in rgb)
    return r, g, b
