"""A cascade's last part: the upper stages paint the details that the base, a model of small pictures, leaves open.

Each stage starts from noise of its own, under the text, beside the picture of the stage below (Saharia et al. 2022,
Imagen, Sec. 2.4). Pictures painted with one seed and one text differ only as their small pictures do.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from imagic.core import seeds
from imagic.core.conditioning import Conditioning
from imagic.core.sampling import sample
from imagic.core.types import Backbone, Progress, UpperStage, WeightChange


def paint(
    backbone: Backbone, z: Tensor, text: Conditioning, seed: int, change: WeightChange | None = None
) -> Generator[Progress, None, Tensor]:
    """One clean latent of the base, z (1, C, h, w), as a picture (1, 3, H, W) in [-1, 1]; decoded as ever where the
    model is no cascade. A stage's progress is labelled with the side of its pictures.

    text: one row of the base's. change: of the first upper stage.
    """
    stages = backbone.upper_stages()
    if not stages:
        with torch.no_grad():
            return backbone.decode(z)
    null = backbone.encode_text([""])
    picture = z
    for number, stage in enumerate(stages):
        with stage.changed(change if number == 0 else None):
            own = seeds.derive(seed, f"stage-{number}")
            picture = yield from _enlarged(stage, picture.clamp(-1, 1), text, null, own)
    return stage.decode(picture)


def paint_each(
    backbone: Backbone, z: Tensor, texts: Conditioning, seeds: Sequence[int]
) -> Generator[Progress, None, Tensor]:
    """Latents (N, C, h, w) as pictures (N, 3, H, W), each painted alone from its seed; decoded at once where the model
    is no cascade. texts: N rows, or one for all."""
    if not backbone.upper_stages():
        with torch.no_grad():
            return backbone.decode(z)
    rows = texts.expand(len(z))
    pictures = []
    for row, seed in enumerate(seeds):
        pictures.append((yield from paint(backbone, z[row : row + 1], rows[row : row + 1], seed)))
    return torch.cat(pictures)


def _enlarged(
    stage: UpperStage, smaller: Tensor, text: Conditioning, null: Conditioning, seed: int
) -> Generator[Progress, None, Tensor]:
    """The stage's own latent of the picture `smaller` (1, 3, h, w)."""
    shape = (smaller.shape[1], *(stage.scale * side for side in smaller.shape[2:]))
    generator = seeds.generator(seed)
    z, noise = (seeds.draw(shape, [generator], stage.device) for _ in range(2))
    loop = sample(
        stage,
        z,
        stage.schedule(stage.num_steps),
        stage.beside(text, smaller, noise),
        stage.beside(null, smaller, noise),
        stage.guidance_scale,
        stage=f"enlarge to {max(shape)}",
    )
    for progress in loop:
        z = progress.z
        yield Progress(progress.stage, progress.step, progress.total, preview=stage.decode(progress.x0_hat)[0])
    return z
