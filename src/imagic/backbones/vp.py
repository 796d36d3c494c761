"""The noise levels of variance-preserving models (SD, SDXL, IF): read from a scheduler's config, spaced by diffusers'
DDIM."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from imagic.core.errors import ModelError, OptionError
from imagic.core.noise import Bound, NoiseLevels, Prediction

_PREDICTIONS = {"epsilon": Prediction.EPS, "v_prediction": Prediction.V, "sample": Prediction.X0}

_SPACINGS = ("leading", "linspace", "trailing")


class VPGrid:
    """name: the model's, for errors. scheduler: any diffusers scheduler of such a model; only its config is used.
    pixels: the model's latents are pixels, which its config may bound; latents have no bound, whatever it says.

    Raises ModelError for a prediction that is none of eps, v and x0, and for EDM's noise (Karras et al. 2022), which
    preserves no variance.
    """

    def __init__(self, name: str, scheduler: Any, *, pixels: bool = False) -> None:
        self._name, self._scheduler = name, DDIMScheduler.from_config(scheduler.config)
        kind = self.config["prediction_type"]
        if kind not in _PREDICTIONS or "sigma_data" in scheduler.config:
            raise ModelError(f"The model '{name}' predicts '{kind}' in a way that no Stable Diffusion model does.")
        if (spacing := self.config["timestep_spacing"]) not in _SPACINGS:
            raise ModelError(f"The model '{name}' spaces its steps by '{spacing}', none of {', '.join(_SPACINGS)}.")
        self.prediction = _PREDICTIONS[kind]
        kept = self._scheduler.alphas_cumprod
        self.levels = _levels(kept, torch.arange(len(kept)))
        self._bound = _bound(self.config) if pixels else None

    @property
    def config(self) -> Any:
        return self._scheduler.config

    def schedule(self, num_steps: int) -> NoiseLevels:
        """Raises OptionError for fewer than one step, or more than the checkpoint's spacing can place."""
        scheduler, limit = self._scheduler, len(self.levels)
        if not 1 <= num_steps <= limit:
            raise OptionError(f"The number of steps must lie between 1 and {limit}, not {num_steps}.")
        scheduler.set_timesteps(num_steps)
        # Trailing spacing can round to one level too many, at the clean end.
        timesteps = scheduler.timesteps[:num_steps]
        if int(timesteps.max()) >= limit:
            raise OptionError(f"The model '{self._name}' has no grid of {num_steps} steps; ask for fewer.")
        kept = torch.cat([scheduler.alphas_cumprod[timesteps], scheduler.final_alpha_cumprod.reshape(1)])
        return _levels(kept, torch.cat([timesteps, timesteps.new_zeros(1)]), self._bound)


def _bound(config: Any) -> Bound | None:
    if config["thresholding"]:
        return Bound(float(config["sample_max_value"]), float(config["dynamic_thresholding_ratio"]))
    return Bound(float(config["clip_sample_range"])) if config["clip_sample"] else None


def _levels(alphas_cumprod: Tensor, timesteps: Tensor, bound: Bound | None = None) -> NoiseLevels:
    alphas_cumprod = alphas_cumprod.double()
    return NoiseLevels(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt(), timesteps, bound=bound)
