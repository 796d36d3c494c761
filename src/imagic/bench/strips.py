"""Pictures of a run: input, the model's rendering of it, result and truth side by side, one PNG per (item, method)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from imagic.bench.scores import Context
from imagic.core.errors import OutputError
from imagic.core.files import replacing
from imagic.core.images import to_rgb

PANELS = ("input", "roundtrip", "result", "truth")


def save(out: Path, item: str, label: str, context: Context, result: Tensor, strength: float | None = None) -> str:
    """Write the strip, without padding and with a white truth where none is known; returns its path relative to `out`.

    strength: of a sweep; each has a folder of its own.
    """
    pictures = context.pictures
    truth = torch.ones_like(pictures.source) if pictures.truth is None else pictures.truth
    images = [pictures.cut(image) for image in (pictures.source, context.roundtrip, result, truth)]
    folder = _safe(label) if strength is None else f"{_safe(label)}/{strength!r}"
    name = f"images/{folder}/{_safe(item)}.png"
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    strip = Image.fromarray(np.concatenate([to_rgb(image) for image in images], axis=1))
    with replacing(path, overwrite=True) as part:
        strip.save(part, "PNG")
    return name


def opened(folder: Path, name: str) -> Image.Image:
    """The strip that `save` wrote into `folder` under this name. Raises OutputError when it is missing."""
    if not (folder / name).is_file():
        raise OutputError(f"The picture {name} is missing: run the benchmark again into an empty folder.")
    with Image.open(folder / name, formats=["PNG"]) as strip:
        return strip.convert("RGB")


def panel(folder: Path, name: str, which: str) -> Tensor:
    """One of PANELS of a strip, (3, H, W) in [-1, 1]. Raises OutputError when the strip is missing."""
    levels = torch.from_numpy(np.array(opened(folder, name))).permute(2, 0, 1)
    return levels.chunk(len(PANELS), dim=2)[PANELS.index(which)] / 127.5 - 1


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
