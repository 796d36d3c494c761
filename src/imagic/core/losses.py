"""The denoising loss E || target - f(z_t, t, e) ||^2 on chosen (t, eps), and the text agreement that it gives for free.

Timesteps are stratified, which spreads few samples over all levels and lowers the variance of the mean (Kingma et al.
2021). The untuned model judges how well an image fits a text by how much better it denoises the image under the text
than under another or none, with the same (t, eps) for all images (as in diffusion classifiers, Li et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imagic.core import seeds
from imagic.core.conditioning import Conditioning
from imagic.core.noise import NoiseLevels, add_noise, training_target
from imagic.core.types import Backbone


@dataclass(frozen=True)
class Pairs:
    """Noise levels and noises to evaluate a loss on. index: (P,) into the training levels; eps: (P, C, h, w)."""

    index: Tensor
    eps: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Tensor) -> Pairs:
        return Pairs(self.index[rows], self.eps[rows])

    def to(self, device: torch.device | str) -> Pairs:
        return Pairs(self.index, self.eps.to(device))


def stratified_pairs(num: int, levels: NoiseLevels, shape: Sequence[int], generator: torch.Generator) -> Pairs:
    """`num` pairs (t, eps) on the CPU: level i is drawn from the i-th of `num` equal parts of the model's training,
    which spends itself evenly on the levels, or as their density says.

    shape: (C, h, w) of one latent. One pair alone may be of any level. generator: a CPU generator.
    """
    offsets = torch.arange(num) + torch.rand(num, generator=generator, dtype=torch.float64)
    if levels.density is None:
        index = (offsets * (len(levels) / num)).long()
    else:
        index = torch.searchsorted(levels.density.cumsum(0), offsets / num, right=True)
    return Pairs(index.clamp(max=len(levels) - 1), torch.randn(num, *shape, generator=generator))


def fixed_pairs(num: int, levels: NoiseLevels, shape: Sequence[int], seed: int = 0) -> Pairs:
    """Stratified pairs that depend on the seed alone: common ground on which curves and images are compared."""
    return stratified_pairs(num, levels, shape, seeds.generator(seeds.derive(seed, "fixed-pairs")))


def denoising_loss(backbone: Backbone, z0: Tensor, pairs: Pairs, conditioning: Conditioning) -> Tensor:
    """The mean squared error of the network against its own training target, one value per pair, (P,). Gradients flow.

    z0: clean latents (1, C, h, w) or (P, C, h, w); conditioning: one row or P rows.
    """
    eps = pairs.eps.to(z0.device)
    z0 = z0.expand_as(eps)
    level = backbone.levels[pairs.index]
    output = backbone.predict(
        add_noise(z0, eps, level.alpha, level.sigma), level.timestep, conditioning.expand(len(pairs))
    )
    target = training_target(z0, eps, level.alpha, level.sigma, backbone.prediction)
    return (output - target).square().flatten(1).mean(1)


@torch.no_grad()
def text_agreement(
    backbone: Backbone,
    z0: Tensor,
    target: Conditioning,
    reference: Conditioning,
    pairs: Pairs,
    batch_size: int = 64,
) -> Tensor:
    """How well each image fits the text: 1000 x the mean over `pairs` of [error under the reference - error under the
    text], (N,) on the CPU; higher is better.

    z0: (N, C, h, w); target, reference (the empty text, or what the input shows): one row each. Every image sees the
    same pairs. batch_size: rows per network call.
    Values are comparable only for one image under edits, on the same pairs: absolute ones mislead (Imagic, Sec. 4).
    """
    image = torch.arange(len(z0)).repeat_interleave(len(pairs))
    pair = torch.arange(len(pairs)).repeat(len(z0))
    gains = []
    step = max(1, batch_size // 2)
    for start in range(0, len(image), step):
        rows = slice(start, start + step)
        clean, chosen = z0[image[rows].to(z0.device)], pairs[pair[rows]]
        size = len(clean)
        both = Conditioning.cat([reference.expand(size), target.expand(size)])
        doubled = Pairs(chosen.index.repeat(2), chosen.eps.repeat(2, 1, 1, 1))
        without, with_text = denoising_loss(backbone, clean.repeat(2, 1, 1, 1), doubled, both).chunk(2)
        gains.append((without - with_text).cpu())
    return 1000 * torch.cat(gains).reshape(len(z0), len(pairs)).mean(1)
