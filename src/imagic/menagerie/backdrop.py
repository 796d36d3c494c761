"""Skies, walls and grounds: gradients with a procedural texture of a few waves, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imagic.menagerie.facts import INDOOR_PLACES, PLACES
from imagic.menagerie.scenes import Scene

GROUND_RGB = {
    "grass": (0.33, 0.58, 0.20),
    "sand": (0.88, 0.76, 0.50),
    "snow": (0.92, 0.94, 0.97),
    "road": (0.36, 0.36, 0.38),
    "wooden floor": (0.62, 0.40, 0.21),
    "red carpet": (0.62, 0.08, 0.10),
}
SKY_TOP = {
    "clear": (0.36, 0.62, 0.93),
    "cloudy": (0.62, 0.67, 0.72),
    "sunset": (0.42, 0.33, 0.60),
    "night": (0.05, 0.07, 0.20),
}
SKY_LOW = {
    "clear": (0.74, 0.87, 0.97),
    "cloudy": (0.80, 0.83, 0.85),
    "sunset": (0.98, 0.66, 0.38),
    "night": (0.16, 0.20, 0.38),
}
WALLS = ((0.80, 0.76, 0.66), (0.62, 0.72, 0.66), (0.70, 0.70, 0.78), (0.84, 0.72, 0.66))


def draw_backdrop(scenes: Sequence[Scene], x: Tensor, y: Tensor) -> Tensor:
    """The empty place of each scene: (B, 3, H, W) in [0, 1]. x, y: pixel centres (H, W), in image widths."""
    device = x.device
    ground = torch.tensor([scene.ground for scene in scenes], device=device)[..., None, None]  # (B, 10, 1, 1)
    back = torch.tensor([scene.backdrop for scene in scenes], device=device)[..., None, None]  # (B, 12, 1, 1)
    horizon = torch.tensor([scene.horizon for scene in scenes], device=device)[:, None, None]  # (B, 1, 1)
    above = _above(scenes, back, horizon, x, y)
    below = _below(scenes, ground, horizon, x, y)
    edge = ((y - horizon) / (1.0 / x.shape[-1]) + 0.5).clamp(0, 1)[:, None]
    return torch.lerp(above, below, edge)


def _rgb(values: Sequence[Sequence[float]], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device, dtype=torch.float32)[:, :, None, None]


def _is(values: Sequence[str], wanted: str, device: torch.device) -> Tensor:
    return torch.tensor([value == wanted for value in values], device=device)[:, None, None, None].float()


def _above(scenes: Sequence[Scene], r: Tensor, horizon: Tensor, x: Tensor, y: Tensor) -> Tensor:
    device = x.device
    inside = [scene.place in INDOOR_PLACES for scene in scenes]
    walls = [_wall(scene) for scene in scenes]
    top = _rgb(
        [wall if indoors else SKY_TOP[scene.sky] for scene, indoors, wall in zip(scenes, inside, walls, strict=True)],
        device,
    )
    low = _rgb(
        [
            tuple(0.88 * value for value in wall) if indoors else SKY_LOW[scene.sky]
            for scene, indoors, wall in zip(scenes, inside, walls, strict=True)
        ],
        device,
    )
    height = (y / horizon).clamp(0, 1)[:, None]
    tint = (torch.stack((r[:, 0], r[:, 1], r[:, 2]), 1) - 0.5) * 0.09
    image = torch.lerp(top, low, height) + tint
    skies = [scene.sky for scene in scenes]
    # Clouds: three slow waves, stretched along x, faint on a clear sky and plain on a cloudy one.
    waves = (
        torch.sin(x * (5 + 5 * r[:, 3]) + 6.28 * r[:, 4] + 2 * torch.sin(y * 9 + 6.28 * r[:, 5]))
        + torch.sin(x * (11 + 6 * r[:, 6]) - y * 17 + 6.28 * r[:, 7])
        + torch.sin(y * (20 + 10 * r[:, 8]) + x * 4 + 6.28 * r[:, 9])
    )[:, None]
    cloud = torch.sigmoid((waves - 0.6) * 2.2) * (1 - 0.5 * height)
    strength = (
        0.35 * _is(skies, "clear", device) + 0.30 * _is(skies, "sunset", device) - 0.22 * _is(skies, "cloudy", device)
    )
    image = image + cloud * strength * torch.tensor((1.0, 0.96, 0.92), device=device)[:, None, None]
    night = _is(skies, "night", device)
    moon_x, moon_y = 0.12 + 0.76 * r[:, 10], 0.08 + 0.10 * r[:, 11]
    moon = (0.5 - (torch.hypot(x - moon_x, y - moon_y) - 0.045) * x.shape[-1]).clamp(0, 1)[:, None]
    image = torch.lerp(
        image, torch.tensor((0.95, 0.94, 0.82), device=device)[:, None, None].expand_as(image), moon * night
    )
    indoors = torch.tensor(inside, device=device)[:, None, None, None].float()
    stripes = torch.sigmoid(6 * torch.sin(x * (40 + 30 * r[:, 3]) + 6.28 * r[:, 4]))[:, None]
    skirting = ((y - horizon + 0.035) * x.shape[-1] + 0.5).clamp(0, 1)[:, None]
    image = image - indoors * 0.05 * stripes
    return torch.lerp(image, 0.93 - 0.06 * tint.abs(), skirting * indoors * 0.8)


def _wall(scene: Scene) -> tuple[float, ...]:
    return WALLS[min(int(scene.backdrop[5] * len(WALLS)), len(WALLS) - 1)]


def _below(scenes: Sequence[Scene], r: Tensor, horizon: Tensor, x: Tensor, y: Tensor) -> Tensor:
    device = x.device
    places = [scene.place for scene in scenes]
    base = _rgb([GROUND_RGB[place] for place in places], device)
    depth = ((y - horizon) / (1 - horizon)).clamp(0, 1)  # 0 at the horizon, 1 at the lower edge
    far = 1.0 / (depth + 0.28)  # waves crowd towards the horizon
    centred = (x - 0.5) * far
    tint = (torch.stack((r[:, 0], r[:, 1], r[:, 2]), 1) - 0.5) * 0.07
    image = base * (0.86 + 0.18 * depth[:, None]) + tint
    slow = torch.sin(centred * (4 + 3 * r[:, 3]) + 6.28 * r[:, 4] + 3 * torch.sin(far * 2.4 + 6.28 * r[:, 5]))
    tufts = torch.sin(x * (46 + 20 * r[:, 6]) + 3 * torch.sin(y * 41 + 6.28 * r[:, 7])) * torch.sin(
        y * (52 + 18 * r[:, 8]) + 2 * torch.sin(x * 23 + 6.28 * r[:, 9])
    )
    ripples = torch.sin(far * (11 + 5 * r[:, 6]) + 1.6 * torch.sin(x * (7 + 3 * r[:, 7]) + 6.28 * r[:, 8]))
    planks = torch.sigmoid(9 * (torch.sin(centred * (15 + 6 * r[:, 6]) + 6.28 * r[:, 7]).abs() - 0.16))
    weave = torch.sin(centred * (20 + 8 * r[:, 6])) * torch.sin(far * (13 + 5 * r[:, 7]))
    line = torch.sigmoid((0.055 - (centred - 0.5 * (r[:, 6] - 0.5)).abs()) * 60) * (
        torch.sin(far * 9 + 6.28 * r[:, 7]) > 0
    )
    texture = {
        "grass": 0.040 * slow + 0.045 * tufts,
        "sand": 0.025 * slow + 0.035 * ripples,
        "snow": 0.022 * slow + 0.018 * ripples,
        "road": 0.016 * slow + 0.40 * line * (depth > 0.04),
        "wooden floor": 0.030 * slow - 0.16 * (1 - planks),
        "red carpet": 0.012 * slow + 0.040 * weave,
    }
    one_hot = torch.tensor([[place == name for name in PLACES] for place in places], device=device).float()
    stacked = torch.stack([texture[name].expand(len(scenes), *x.shape) for name in PLACES], 1)
    return image + (stacked * one_hot[..., None, None]).sum(1)[:, None]
