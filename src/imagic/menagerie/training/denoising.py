"""What a text-to-image model of the menagerie is trained on, in latents or in pixels: denoising under random captions.

Ordinary diffusion (Ho et al. 2020) with classifier-free guidance (Ho & Salimans 2022). What captions leave open is told
beside them, see `unsaid`. The network's deepest block on the way up is also asked for the facts of the scene. Without
that the deep blocks lay idle (left out, the loss rose by 0.2 %), and words that only break a symmetry ("facing left")
were never learned: the two pictures average to one that ignores the word, and there its gradient is zero. A linear
reader gives it one; the idea of REPA (Yu et al. 2024), with the truth in place of another network's features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from imagic.backbones.vp import VPGrid
from imagic.core.seeds import derive
from imagic.menagerie.captions import caption_with_facts
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.labels import FactReader, labels, reading_loss
from imagic.menagerie.training.noising import noised
from imagic.menagerie.training.unsaid import Unsaid, add_unsaid, tell

EMPTY_SHARE = 0.1  # captions left empty, for guidance
READING_WEIGHT = 0.1  # of the reading of facts beside the denoising
UNSAID_WEIGHT = 0.5  # of the reading of what captions leave unsaid


class DenoisingTask:
    """A task (loop.Task) of this kind says what its networks are, and how they read a text."""

    unet: UNet2DConditionModel
    reader: FactReader
    unsaid: Unsaid
    grid: VPGrid
    device: torch.device | str
    seed: int

    def embed(self, texts: list[str]) -> Tensor:
        """The text encoder's output, (B, L, width). Gradients flow."""
        raise NotImplementedError

    def told_loss(
        self, step: int, scenes: Sequence[Scene], z0: Tensor, weights: Tensor | float, noise: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of the step and its parts. z0: (B, C, h, w), the scenes as the network draws them. weights: of the
        squared errors, to be broadcast."""
        rng = np.random.default_rng(derive(self.seed, f"captions/{step}"))
        captions = [("", {}) if rng.random() < EMPTY_SHARE else caption_with_facts(scene, rng) for scene in scenes]
        texts, named = zip(*captions, strict=True)
        given = noised(z0, self.grid, noise)
        hidden = self.embed(list(texts))
        told = tell(scenes, named, rng).to(self.device)
        hidden = add_unsaid(hidden, self.unsaid, told)
        output, deep = with_deep(self.unet, given.z, given.timestep, hidden)
        predicted = output[:, : z0.shape[1]].float()  # without a variance that nothing trains
        denoising = (weights * (predicted - given.target).square()).mean()
        reading = reading_loss(self.reader(deep.mean((2, 3))), labels(scenes, z0.device))
        unsaid = self.unsaid.reading_loss(deep, told)
        values = {"loss": denoising.item(), "reading": reading.item(), "unsaid": unsaid.item()}
        return denoising + READING_WEIGHT * reading + UNSAID_WEIGHT * unsaid, values


def with_deep(unet: UNet2DConditionModel, z: Tensor, t: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The UNet's output, and that of its deepest block on the way up."""
    taken: list[Tensor] = []
    hook = unet.up_blocks[0].register_forward_hook(lambda module, inputs, output: taken.append(output))
    try:
        return unet(z, t, hidden).sample, taken[0]
    finally:
        hook.remove()
