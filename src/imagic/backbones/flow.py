"""The noise levels of rectified-flow models (SD3, Flux): alpha = 1 - t, sigma = t, with t in (0, 1] shifted towards
noise, read from the config of diffusers' FlowMatchEulerDiscreteScheduler."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from imagic.core.errors import ModelError, OptionError
from imagic.core.noise import NoiseLevels


class FlowGrid:
    """scheduler: any with such a config. tokens: patches of a picture, on which a dynamic shift depends. density: the
    share of training at each of the scheduler's levels, from clean to noisy; None for equal shares. even: sampling
    steps are of one size before the shift, as in Flux's pipeline; else they end at the cleanest training level."""

    def __init__(self, scheduler: Any, tokens: int, density: Tensor | None = None, *, even: bool = False) -> None:
        self._scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
        dynamic = self._scheduler.config["use_dynamic_shifting"]
        self._even = even
        self.mu = shift(tokens, self._scheduler.config) if dynamic else None
        # A new scheduler holds the training levels, noisy to clean: shifted by a constant, never by a resolution.
        self.levels = _levels(self._scheduler.sigmas.flip(0), self._scheduler.timesteps.flip(0), density)

    @property
    def config(self) -> Any:
        return self._scheduler.config

    def schedule(self, num_steps: int) -> NoiseLevels:
        """num_steps levels, then the clean one. Raises OptionError for an impossible number of steps."""
        if not 1 <= num_steps <= len(self.levels):
            raise OptionError(f"The number of steps must lie between 1 and {len(self.levels)}, not {num_steps}.")
        sigmas = [1 - step / num_steps for step in range(num_steps)] if self._even else None
        self._scheduler.set_timesteps(num_steps, sigmas=sigmas, mu=self.mu)
        timesteps = self._scheduler.timesteps
        return _levels(self._scheduler.sigmas, torch.cat([timesteps, timesteps.new_zeros(1)]))


def shift(tokens: int, config: Any) -> float:
    """mu, which grows linearly with the number of patches (diffusers' pipelines of SD3.5 and Flux). Raises ModelError
    for a config that has one number of patches as both the few and the many."""
    few, many = config["base_image_seq_len"], config["max_image_seq_len"]
    if few == many:
        raise ModelError(f"The scheduler shifts by two equal numbers of patches, {few}: get the model anew.")
    share = (tokens - few) / (many - few)
    return float(config["base_shift"] + share * (config["max_shift"] - config["base_shift"]))


def logit_normal(count: int) -> Tensor:
    """The share of sigmoid(N(0, 1)) in each of `count` equal parts of [0, 1], float64 (Esser et al. 2024, Sec. 3.1)."""
    edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    share: Tensor = torch.special.ndtr(torch.logit(edges)).diff()
    return share


def _levels(sigma: Tensor, timesteps: Tensor, density: Tensor | None = None) -> NoiseLevels:
    return NoiseLevels(1 - sigma.double(), sigma.double(), timesteps, density)
