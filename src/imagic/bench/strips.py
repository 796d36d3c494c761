"""Pictures of a run: input, the model's rendering of it, result and truth side by side, one PNG per (item, method)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from imagic.bench.scores import Context
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


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
