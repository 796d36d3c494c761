"""Training pictures: rendered on the device, on the fly, the scenes of a step being a function of its number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from imagic.menagerie.facts import facts
from imagic.menagerie.render import render
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.variants import other_individual, other_picture

CHUNK = 64  # pictures drawn at once
PROBES = 16  # scenes that stand for the world
STRANGERS = 3 << 38  # above the seeds of all other scenes
STRANGERS_EACH = 10**4  # seeds to search for one stranger
VIEWS = 3  # a scene, its animal in another picture, and another animal in its place in one of the two


def trio(seed: int, *, held_out: bool | None = False) -> list[Scene]:
    """A scene, another picture of the same individual, and another individual with the facts of one of the two, in the
    same place."""
    scene = sample_scene(seed, held_out=held_out)
    rng = np.random.default_rng((seed, 1, 2 if held_out is None else int(held_out)))
    other = other_picture(scene, rng)
    return [scene, other, other_individual(scene if rng.random() < 0.5 else other, rng)]


def stranger(scene: Scene, number: int, *, held_out: bool | None = False) -> Scene:
    """A random scene with animals of the same species and colour; another one for each number."""
    wanted = facts(scene)
    first = STRANGERS + STRANGERS_EACH * number
    found = (sample_scene(seed, held_out=held_out) for seed in range(first, first + STRANGERS_EACH))
    return next(
        candidate
        for candidate in found
        if all(facts(candidate)[name] == wanted[name] for name in ("species", "colour"))
    )


def scenes_of(first: int, count: int, *, held_out: bool = False) -> list[Scene]:
    """The scenes of `count` seeds from `first` on."""
    return [sample_scene(seed, held_out=held_out) for seed in range(first, first + count)]


def world_fingerprint() -> str:
    """A name for the world as it is sampled and drawn now: data kept from another one must not be taken for it."""
    pictures = render(scenes_of(0, PROBES), size=32)
    return hashlib.sha256((pictures * 64).round().to(torch.int8).numpy().tobytes()).hexdigest()[:8]


def draw(scenes: Sequence[Scene], device: torch.device | str = "cpu") -> Tensor:
    """Pictures (N, 3, 128, 128) in [-1, 1] of any number of scenes."""
    return torch.cat([render(scenes[i : i + CHUNK], device=device) for i in range(0, len(scenes), CHUNK)])


def tile(images: Tensor, columns: int) -> Image.Image:
    """Pictures (N, 3, H, W) in [-1, 1] side by side, row by row."""
    rows = [torch.cat(list(images[i : i + columns]), dim=2) for i in range(0, len(images), columns)]
    width = rows[0].shape[2]
    whole = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[2])) for row in rows], dim=1)
    pixels = ((whole.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(pixels.cpu().numpy())
