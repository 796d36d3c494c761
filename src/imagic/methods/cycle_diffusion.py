"""CycleDiffusion (Wu & De la Torre, A Latent Space of Stochastic Diffusion Models, ICCV 2023).

A noising of the input is drawn that stochastic DDIM could have made backwards. What each of its steps does beyond the
model's own mean under the source text is noise that belongs to this input; the target is sampled with the same noise.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.noise import NoiseLevels, Prediction, add_noise, to_x0_eps
from imagic.core.options import option
from imagic.core.sampling import LatentProgress, ddim_noise_std, predict_guided
from imagic.core.seeds import draw, generator
from imagic.core.types import Ability, Backbone, Denoiser, EditResult, FitRequest, Progress, State
from imagic.methods import _common as common


@dataclass(frozen=True)
class CycleFit:
    """Nothing to choose: the input is only encoded."""


@dataclass(frozen=True)
class CycleEdit(common.StrengthOptions):
    """How input and target are sampled together; the defaults are those that the authors give for Stable Diffusion."""

    num_steps: int = option(50, "Sampling steps of the whole schedule.", minimum=1, maximum=1000)
    guidance_scale: float = option(3.0, "Guidance towards the target (1 to 5); 1 is none.", minimum=0.0, maximum=50.0)
    source_guidance_scale: float = option(1.0, "Guidance towards the source; 1 is none.", minimum=0.0, maximum=50.0)
    ddim_noise: float = option(0.1, "Eta of DDIM: how stochastic the sampling is.", minimum=0.0, maximum=1.0)
    target_text: str = option("", "Another target than that of the fit.")
    max_batch: int = option(16, "Most images sampled at once; lower it when memory runs out.", minimum=1, maximum=4096)


class CycleDiffusion:
    """The method `cycle_diffusion`, see the head of this file."""

    name: ClassVar[str] = "cycle_diffusion"
    paper: ClassVar[str] = (
        "Wu & De la Torre, A Latent Space of Stochastic Diffusion Models for Zero-Shot Image Editing and Guidance, "
        "ICCV 2023"
    )
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE})
    texts: ClassVar[tuple[str, ...]] = ("target_text", "source_text")
    FitOptions: ClassVar[type] = CycleFit
    EditOptions: ClassVar[type] = CycleEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(self, backbone: Backbone, request: FitRequest, options: CycleFit) -> Generator[Progress, None, State]:
        """Encode the input. Raises AbilityError, and TextError for an empty target or source."""
        return (yield from common.fit_by_encoding(self, backbone, request, options))

    def edit(
        self, backbone: Backbone, state: State, options: CycleEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Each seed at each strength. Equal texts and scales give the reconstruction, whatever the options.

        Raises StateError when the state is another model's, OptionError for unusable options.
        """
        common.check_edit(self, backbone, state, seeds)
        inputs = common.Inputs.unpack(self, backbone, state, options.target_text)
        schedule = backbone.schedule(options.num_steps)

        def render(strength: float, seeds: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            part = common.part_of(schedule, strength)
            return cycle(backbone, inputs, part, options, [generator(seed) for seed in seeds])

        return (
            yield from common.render_each(
                backbone, inputs.z0, render, options.asked, seeds, options.max_batch, text=inputs.target
            )
        )


def cycle(
    denoiser: Denoiser,
    inputs: common.Inputs,
    part: NoiseLevels,
    options: CycleEdit,
    generators: Sequence[torch.Generator],
) -> Generator[LatentProgress, None, Tensor]:
    """The target's latents, (B, C, h, w), one row per generator; yields after each step.

    Source and target walk side by side, so that no noise need be kept. With the mean mu and the deviation sd of a step,
    the source's noise is n = (z' - mu(z, source)) / sd, and the target's next z is mu(z, target) + sd n. Written as
    z' + mu(z, target) - mu(z, source) it needs no division, holds where sd = 0, and equal texts change no bit.
    """
    z0, total = inputs.z0, len(part) - 1
    source = common.noised(z0, part, draw(z0.shape[1:], generators, z0.device))
    target = source
    for step in range(total):
        std = ddim_noise_std(part, step, options.ddim_noise)
        with torch.no_grad():
            _, mean = _step(
                denoiser, source, part, step, std, inputs.source, inputs.null, options.source_guidance_scale
            )
            x0_hat, target_mean = _step(
                denoiser, target, part, step, std, inputs.target, inputs.null, options.guidance_scale
            )
            source = _posterior(source, z0, part, step, std, generators)
            target = source + (target_mean - mean)
        yield LatentProgress("render", step + 1, total, z=target, x0_hat=x0_hat)
    return target


def _step(
    denoiser: Denoiser,
    z: Tensor,
    part: NoiseLevels,
    step: int,
    std: float,
    conditioning: Conditioning,
    null: Conditioning,
    guidance_scale: float,
) -> tuple[Tensor, Tensor]:
    """(x0_hat, the mean of the next z) of stochastic DDIM (Song et al. 2021, Eq. 12)."""
    output = predict_guided(denoiser, z, part.timestep[step], conditioning, null, guidance_scale)
    x0_hat, eps_hat = to_x0_eps(output, z, part.alpha[step], part.sigma[step], denoiser.prediction)
    return x0_hat, _mean(x0_hat, eps_hat, part, step, std)


def _mean(x0: Tensor, eps: Tensor, part: NoiseLevels, step: int, std: float) -> Tensor:
    return add_noise(x0, eps, part.alpha[step + 1], (part.sigma[step + 1] ** 2 - std**2).clamp(min=0).sqrt())


def _posterior(
    z: Tensor, z0: Tensor, part: NoiseLevels, step: int, std: float, generators: Sequence[torch.Generator]
) -> Tensor:
    """A draw of the next z given z and z0 (Song et al. 2021, Eq. 7); at the last level z0 itself."""
    if step + 2 == len(part):
        return z0.expand_as(z)
    z0, eps = to_x0_eps(z0, z, part.alpha[step], part.sigma[step], Prediction.X0)
    return _mean(z0, eps, part, step, std) + std * draw(z.shape[1:], generators, z.device)
