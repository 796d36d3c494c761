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


def save(out: Path, item: str, label: str, context: Context, result: Tensor) -> str:
    """Write the strip; returns its path relative to `out`."""
    images = (context.pictures.source, context.roundtrip, result, context.pictures.truth)
    name = f"images/{_safe(label)}/{_safe(item)}.png"
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
    """One of PANELS of a strip, (3, S, S) in [-1, 1]. Raises OutputError when the strip is missing."""
    levels = torch.from_numpy(np.array(opened(folder, name))).permute(2, 0, 1)
    return levels.chunk(len(PANELS), dim=2)[PANELS.index(which)] / 127.5 - 1


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
