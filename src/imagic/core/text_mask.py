"""A mask out of two texts: where a model's noise estimates differ between them, DiffEdit's first step.

The paper (Couairon et al., ICLR 2023, Sec. 3.2, step 1) fixes 10 noises, a noise strength of 50 % and a threshold of
0.5 on a map without outliers. It leaves open how channels are reduced, what an outlier is, how the map is scaled and
whether the estimates are guided: options here. By default means over the channels, unguided and uncut, whose largest is
1, and a threshold of 0.2: what agrees best with the true masks of edits in the menagerie. Cut at 3 times its own mean,
as in diffusers, a map has no place that stands out where much changes, and half of the cut covers a hat and all around.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imagic.core import seeds as streams
from imagic.core.conditioning import Conditioning
from imagic.core.masks import feathered
from imagic.core.noise import add_noise, to_x0_eps
from imagic.core.options import option
from imagic.core.sampling import predict_guided
from imagic.core.types import Backbone, Progress

EMPTY = "The mask is empty, so nothing changes: paint one, word the text differently, or lower mask_threshold."


@dataclass(frozen=True)
class MaskOptions:
    """How a mask is found, and how a mask, found or given, is used."""

    mask_noises: int = option(10, "Found mask: noises that the map is averaged over.", minimum=1, maximum=1024)
    mask_strength: float = option(
        0.5, "Found mask: how noisy the input is made, as a share of the model's levels.", minimum=0.0, maximum=1.0
    )
    mask_guidance: float = option(
        1.0,
        "Found mask: guidance of both estimates; it matters only to models that take the scale as an input.",
        minimum=0.0,
        maximum=50.0,
    )
    mask_reference: str = option(
        "source",
        "Found mask: what the text is compared with: the source text where there is one, or always the empty text.",
        choices=("source", "empty"),
    )
    mask_channels: str = option(
        "mean", "Found mask: what makes one number of the channels' differences.", choices=("mean", "max", "norm")
    )
    mask_clamp: float = option(
        0.0,
        "Found mask: larger differences are cut to this many times the mean; 0: none are.",
        minimum=0.0,
        maximum=1e3,
    )
    mask_scaling: str = option(
        "clamp",
        "Found mask: what becomes 1: the value that was clamped at, else the largest; or range: the largest, and the "
        "smallest 0.",
        choices=("clamp", "range"),
    )
    mask_threshold: float = option(0.2, "Found mask: what lies above may change.", minimum=0.0, maximum=1.0)
    mask_feather: float = option(
        0.0, "Any mask: soften its inner edge over this share of the image's side.", minimum=0.0, maximum=0.25
    )
    mask_invert: bool = option(False, "Any mask: change what lies outside instead.")
    mask_batch: int = option(
        10, "Found mask: noises looked at in one call; lower it when memory runs out.", minimum=1, maximum=1024
    )


def find_masks(
    backbone: Backbone,
    z0: Tensor,
    target: Conditioning,
    reference: Conditioning,
    null: Conditioning,
    seeds: Sequence[int],
    options: MaskOptions,
) -> Generator[Progress, None, Tensor]:
    """A mask for each seed, (N, 1, h, w) in [0, 1] on the latent grid, inverted and feathered as the options ask.

    z0: (1, C, h, w); conditionings: one row each. Each seed is looked at alone, so that a mask does not depend on the
    batch. Equal conditionings give an empty mask.
    """
    maps: list[Tensor] = []
    for number, seed in enumerate(seeds):
        batches = torch.split(mask_noise(z0, seed, options.mask_noises), options.mask_batch)
        differences: list[Tensor] = []
        for noise in batches:
            differences.append(text_difference(backbone, z0, target, reference, null, noise, options))
            yield Progress("mask", number * len(batches) + len(differences), len(seeds) * len(batches))
        maps.append(relative(torch.cat(differences), options))
    found = binary(torch.cat(maps), options.mask_threshold)
    return feathered(1 - found if options.mask_invert else found, options.mask_feather)


def mask_noise(z0: Tensor, seed: int, count: int) -> Tensor:
    """`count` different noises (count, C, h, w) of a seed on z0's device; fewer are the first of more."""
    generator = streams.generator(streams.derive(seed, "text-mask"))
    return torch.stack([torch.randn(z0.shape[1:], generator=generator) for _ in range(count)]).to(z0.device)


@torch.no_grad()
def text_difference(
    backbone: Backbone,
    z0: Tensor,
    target: Conditioning,
    reference: Conditioning,
    null: Conditioning,
    noise: Tensor,
    options: MaskOptions,
) -> Tensor:
    """|eps_hat(z, target) - eps_hat(z, reference)| at z = alpha z0 + sigma noise, in the shape of noise (n, C, h, w).

    Each text has a call of its own in the same shape, so that equal texts give equal bits and a difference of 0.
    """
    index = min(int(options.mask_strength * len(backbone.levels)), len(backbone.levels) - 1)
    alpha, sigma = backbone.levels.alpha[index], backbone.levels.sigma[index]
    z = add_noise(z0.expand_as(noise), noise, alpha, sigma)

    def eps_hat(text: Conditioning) -> Tensor:
        output = predict_guided(backbone, z, backbone.levels.timestep[index], text, null, options.mask_guidance)
        return to_x0_eps(output, z, alpha, sigma, backbone.prediction)[1]

    return (eps_hat(target) - eps_hat(reference)).abs()


def relative(differences: Tensor, options: MaskOptions) -> Tensor:
    """One map (1, 1, h, w) in [0, 1] of an image's differences (n, C, h, w): their mean over the noises, one number
    for the channels, clamped and scaled. All 0 where nothing differs, or nothing stands out from the range."""
    mean = differences.mean(0, keepdim=True)
    match options.mask_channels:
        case "max":
            found = mean.amax(1, keepdim=True)
        case "norm":
            found = mean.square().sum(1, keepdim=True).sqrt()
        case _:
            found = mean.mean(1, keepdim=True)
    highest = options.mask_clamp * found.mean() if options.mask_clamp else found.max()
    found = found.clamp(max=highest)
    lowest = torch.zeros_like(highest)
    if options.mask_scaling == "range":
        lowest, highest = found.min(), found.max()
    if not highest > lowest:
        return torch.zeros_like(found)
    return (found - lowest) / (highest - lowest)


def binary(found: Tensor, threshold: float) -> Tensor:
    """1 where the map lies above the threshold, else 0, in its dtype."""
    return (found > threshold).to(found.dtype)
