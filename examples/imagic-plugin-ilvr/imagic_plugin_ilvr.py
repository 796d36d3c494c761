"""ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models (Choi et al., ICCV 2021), on latents.

The target text is sampled from noise, and after each of the first steps the coarse part of the latent is replaced by
that of the input at the same noise level (Algorithm 1), so that layout and colours are the input's and the rest is new.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.core.noise import add_noise, to_x0_eps
from imagic.core.options import option
from imagic.core.sampling import LatentProgress, predict_guided
from imagic.core.seeds import initial_noise
from imagic.core.state import check_state
from imagic.core.types import Ability, Backbone, Candidate, EditResult, FitRequest, Progress, State


@dataclass(frozen=True)
class ILVRFit:
    """Nothing to choose: the input is only encoded."""


@dataclass(frozen=True)
class ILVREdit:
    strength: float = option(0.5, "Share of the steps, the last, that are free of the input.", minimum=0.0, maximum=1.0)
    strengths: tuple[float, ...] = option((), "Several strengths, each rendered for each seed; instead of strength.")
    factor: int = option(2, "The coarse part is what is left at 1 / factor of the size.", minimum=1, maximum=64)
    num_steps: int = option(50, "Sampling steps.", minimum=1, maximum=1000)
    guidance_scale: float = option(7.5, "Classifier-free guidance; 1 is none.", minimum=0.0, maximum=50.0)
    target_text: str = option("", "Another target than that of the fit.")


class ILVR:
    name: ClassVar[str] = "ilvr"
    paper: ClassVar[str] = (
        "Choi et al., ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models, ICCV 2021"
    )
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE})
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = ILVRFit
    EditOptions: ClassVar[type] = ILVREdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(self, backbone: Backbone, request: FitRequest, options: ILVRFit) -> Generator[Progress, None, State]:
        z0 = backbone.encode(request.image)
        yield Progress("encode", 1, 1)
        facts = {"model": backbone.name, "fingerprint": backbone.fingerprint}
        facts |= {"target_text": request.target_text, "source_text": request.source_text}
        return State(self.name, {"z0": z0.cpu()}, facts)

    def edit(
        self, backbone: Backbone, state: State, options: ILVREdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        check_state(state, self.name, backbone)
        z0 = state.tensors["z0"].to(backbone.device)
        noise = initial_noise(z0.shape[1:], seeds, backbone.device)
        target = backbone.encode_text([options.target_text or state.facts["target_text"]])
        null, levels = backbone.encode_text([""]), backbone.schedule(options.num_steps)
        chosen = []
        for strength in options.strengths or (options.strength,):
            z, held = noise, options.num_steps - int(options.num_steps * strength)
            for step in range(options.num_steps):
                before, after = levels[step : step + 1], levels[step + 1 : step + 2]
                with torch.no_grad():
                    output = predict_guided(backbone, z, before.timestep, target, null, options.guidance_scale)
                    x0_hat, eps_hat = to_x0_eps(output, z, before.alpha, before.sigma, backbone.prediction)
                    z = add_noise(x0_hat, eps_hat, after.alpha, after.sigma)
                    if step < held:
                        y = add_noise(z0, noise, after.alpha, after.sigma)
                        z = coarse(y, options.factor) + (z - coarse(z, options.factor))
                yield LatentProgress("render", step + 1, options.num_steps, z=z, x0_hat=x0_hat)
            images = backbone.decode(z).cpu()
            chosen += [Candidate(image, strength, seed) for image, seed in zip(images, seeds, strict=True)]
        return EditResult(chosen, reconstruction=backbone.decode(z0)[0].cpu())


def coarse(z: Tensor, factor: int) -> Tensor:
    """The paper's phi: z (B, C, h, w) made smaller by the factor, and as large as before."""
    small = F.interpolate(z, scale_factor=1 / factor, mode="bicubic", antialias=True)
    return F.interpolate(small, size=z.shape[-2:], mode="bicubic", antialias=True)
