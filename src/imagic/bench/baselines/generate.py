"""Sample from the target text alone: what the model knows of the text, and nothing of the input."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from imagic.core.cascade import paint, paint_each
from imagic.core.options import option
from imagic.core.sampling import Sampler, sample
from imagic.core.seeds import initial_noise
from imagic.core.types import Ability, Backbone, Candidate, EditResult, FitRequest, Progress, State


@dataclass(frozen=True)
class GenerateFitOptions:
    """There is nothing to choose."""


@dataclass(frozen=True)
class GenerateOptions:
    num_steps: int = option(50, "Sampling steps.", minimum=1, maximum=1000)
    guidance_scale: float = option(5.0, "Classifier-free guidance; 1 is none.", minimum=1, maximum=50)
    sampler: str = option("ddim", "The solver.", choices=tuple(Sampler))


class Generate:
    """Images of the target text from noise, at strength 1, one per seed."""

    name: ClassVar[str] = "generate"
    paper: ClassVar[str] = "Baseline: sampling from the text, without the input"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE})
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = GenerateFitOptions
    EditOptions: ClassVar[type] = GenerateOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(
        self, backbone: Backbone, request: FitRequest, options: GenerateFitOptions
    ) -> Generator[Progress, None, State]:
        with torch.no_grad():
            z0 = backbone.encode(request.image)
        yield Progress("encode", 1, 1)
        return State(self.name, {"z0": z0}, {"fingerprint": backbone.fingerprint, "target_text": request.target_text})

    def edit(
        self, backbone: Backbone, state: State, options: GenerateOptions, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        z0 = state.tensors["z0"]
        text, null = backbone.encode_text([state.facts["target_text"]]), backbone.encode_text([""])
        schedule = backbone.schedule(options.num_steps)
        z = initial_noise(z0.shape[1:], seeds, backbone.device)
        z = yield from sample(
            backbone, z, schedule, text, null, options.guidance_scale, options.sampler, stage="generate"
        )
        images = yield from paint_each(backbone, z, text, seeds)
        (reconstruction,) = yield from paint(backbone, z0, text, seeds[0])
        chosen = [Candidate(image, 1.0, seed) for image, seed in zip(images, seeds, strict=True)]
        return EditResult(chosen, reconstruction)
