"""The renderer: scenes to pictures, batched, in plain torch, on any device.

Every stroke is a tapered capsule with a signed distance: the distance gives an edge of one pixel's softness, the
position across the capsule a pseudo-normal for shading, the position in the body's own coordinates the coat's pattern.
Strokes are laid over the backdrop back to front; all images of a batch are drawn together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imagic.menagerie.backdrop import draw_backdrop
from imagic.menagerie.bodies import strokes_of
from imagic.menagerie.props import is_foreground, shadow_of, strokes_of_thing
from imagic.menagerie.scenes import Coat, Scene
from imagic.menagerie.strokes import Stroke
from imagic.menagerie.styles import apply_style

IMAGE_SIZE = 128
NO_COAT = Coat("none", (0, 0, 0), (0, 0, 0), "plain", ((0.0, 0.0, 0.0),) * 3, (0.0, 0.0, 0.0), 9.0)
MARK_STEEPNESS = 10.0


def render(scenes: Sequence[Scene], size: int = IMAGE_SIZE, device: torch.device | str = "cpu") -> Tensor:
    """Pictures of the scenes: (B, 3, size, size), float32 in [-1, 1]."""
    device = torch.device(device)
    centres = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    image = draw_backdrop(scenes, x, y)
    image = _compose(image, [_strokes(scene) for scene in scenes], _light(scenes, device))
    image = _grade(image, scenes)
    for style in sorted({scene.style for scene in scenes}):
        rows = [index for index, scene in enumerate(scenes) if scene.style == style]
        image[rows] = apply_style(image[rows], style)
    return image * 2 - 1


def _strokes(scene: Scene) -> list[tuple[Stroke, Coat]]:
    """All strokes of a scene, back to front, each with the coat it may show."""
    strokes = [
        (stroke, NO_COAT) for thing in scene.things if not is_foreground(thing) for stroke in strokes_of_thing(thing)
    ]
    strokes += [(shadow_of(animal), NO_COAT) for animal in scene.animals]
    strokes += [(stroke, animal.coat) for animal in scene.animals for stroke in strokes_of(animal)]
    return strokes + [
        (stroke, NO_COAT) for thing in scene.things if is_foreground(thing) for stroke in strokes_of_thing(thing)
    ]


def _light(scenes: Sequence[Scene], device: torch.device) -> Tensor:
    """Direction of the light in the image plane (B, 2): from above, more or less from one side."""
    side = torch.tensor([0.55 * scene.light[0] for scene in scenes], device=device)
    return torch.stack((side, -torch.sqrt(1 - side * side)), 1)


def _grade(image: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Brightness and warmth of the light, over the whole picture."""
    bright = torch.tensor([scene.light[1] for scene in scenes], device=image.device)[:, None, None, None]
    warm = torch.tensor([scene.light[2] for scene in scenes], device=image.device)
    gain = torch.stack((1 + 0.03 * warm, torch.ones_like(warm), 1 - 0.03 * warm), 1)[..., None, None]
    return (image * bright * gain).clamp(0, 1)


def _numbers(stroke: Stroke, coat: Coat) -> list[float]:
    """A stroke as the 33 numbers that _lay reads: 6 of geometry, 10 of its look, 4 of its place, 13 of the pattern."""
    shown, mark = (coat, coat.mark) if stroke.coat else (NO_COAT, stroke.rgb)
    geometry = (stroke.ax, stroke.ay, stroke.bx, stroke.by, stroke.ra, stroke.rb)
    look = (*stroke.rgb, *mark, stroke.shade, stroke.opacity, stroke.soft, stroke.bump)
    place = (stroke.u, stroke.v, stroke.scale, stroke.flip)
    waves = (value for wave in shown.waves for value in wave)
    return [*geometry, *look, *place, *waves, *shown.weights, shown.threshold]


def _window(stroke: Stroke, size: int) -> tuple[int, int, int]:
    """(side, left, top) in pixels of a square that holds all a stroke can touch; sides are size / 1, 2, 4, 8 or 16."""
    reach = max(stroke.ra, stroke.rb) + stroke.soft + stroke.bump
    left, right = min(stroke.ax, stroke.bx) - reach, max(stroke.ax, stroke.bx) + reach
    top, bottom = min(stroke.ay, stroke.by) - reach, max(stroke.ay, stroke.by) + reach
    needed = max(right - left, bottom - top) * size + 4
    side = size
    while side // 2 >= needed and side > size // 16 and side % 2 == 0:
        side //= 2
    last = size - side
    return side, min(max(int(left * size) - 1, 0), last), min(max(int(top * size) - 1, 0), last)


def _compose(image: Tensor, drawn: list[list[tuple[Stroke, Coat]]], light: Tensor) -> Tensor:
    """Strokes laid over the backdrops (B, 3, S, S). Round k draws the k-th stroke of every image, each in its own
    window; windows of one side go together, so that the work is that of the area drawn and the calls are few."""
    size = image.shape[-1]
    canvas = image.permute(0, 2, 3, 1).reshape(-1, 3).contiguous()
    for turn in range(max(map(len, drawn))):
        groups: dict[int, list[tuple[int, int, int, list[float]]]] = {}
        for index, strokes in enumerate(drawn):
            if turn < len(strokes):
                stroke, coat = strokes[turn]
                side, left, top = _window(stroke, size)
                groups.setdefault(side, []).append((index, left, top, _numbers(stroke, coat)))
        for side, members in groups.items():
            corner = torch.tensor([member[:3] for member in members], device=image.device)
            numbers = torch.tensor([member[3] for member in members], device=image.device)
            step = torch.arange(side, device=image.device)
            columns = (corner[:, 1, None] + step)[:, None, :]
            rows = (corner[:, 2, None] + step)[:, :, None]
            where = ((corner[:, 0, None, None] * size + rows) * size + columns).flatten()
            old = canvas[where].view(len(members), side, side, 3)
            new = _lay(old, numbers, light[corner[:, 0]], (columns + 0.5) / size, (rows + 0.5) / size, 1.0 / size)
            canvas[where] = new.view(-1, 3)
    return canvas.view(-1, size, size, 3).permute(0, 3, 1, 2).clamp(0, 1)


def _lay(image: Tensor, numbers: Tensor, light: Tensor, x: Tensor, y: Tensor, pixel: float) -> Tensor:
    """One stroke laid over each window (n, s, s, 3). numbers: (n, 33), see _numbers. x: (n, 1, s), y: (n, s, 1)."""
    lx, ly = light[:, 0, None, None], light[:, 1, None, None]
    n = [value[:, None, None] for value in numbers.unbind(1)]  # (n, 1, 1) each; all below is (n, s, s)
    ax, ay, bx, by, ra, rb = n[:6]
    shade, opacity, soft, bump = n[12:16]
    u0, v0, scale, flip = n[16:20]
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    length = length2.sqrt()
    px, py = x - ax, y - ay
    along = ((px * dx + py * dy) / length2.clamp_min(1e-9)).clamp(0, 1)
    qx, qy = px - along * dx, py - along * dy
    distance = (qx * qx + qy * qy).sqrt()
    radius = ra + along * (rb - ra)
    edge = distance - radius
    if bool((numbers[:, 15] > 0).any()):
        edge = edge - bump * torch.sin(9 * torch.atan2(qy, qx) + 6 * along * length / scale) * 0.5
    alpha = ((0.5 * pixel + soft - edge) / (pixel + 2 * soft)).clamp(0, 1) * opacity
    # Pseudo-normal of a round limb: outwards at the rim, towards the viewer in the middle.
    rim = (distance / radius.clamp_min(1e-6)).clamp(0, 1)
    lit = (qx * lx + qy * ly) / distance.clamp_min(1e-6) * rim
    bright = 1 + shade * (0.22 * lit - 0.16 * rim * rim * rim + 0.03)
    colour = torch.stack(n[6:9], -1)
    if bool((numbers[:, 32] < 9).any()):
        # Body coordinates: u along the limb, v across it; the mirror flips v, so the coat turns with the animal.
        u = u0 + along * length / scale
        v = v0 + (dx * py - dy * px) / length.clamp_min(1e-4) * flip / scale
        total = sum(n[29 + i] * torch.cos(n[20 + 3 * i] * u + n[21 + 3 * i] * v + n[22 + 3 * i]) for i in range(3))
        mark = torch.sigmoid((total - n[32]) * MARK_STEEPNESS)
        colour = torch.lerp(colour, torch.stack(n[9:12], -1), mark[..., None])
    return torch.lerp(image, colour * bright[..., None], alpha[..., None])
