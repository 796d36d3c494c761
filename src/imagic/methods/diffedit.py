"""DiffEdit: Diffusion-Based Semantic Image Editing with Mask Guidance (Couairon et al., ICLR 2023).

A mask is found where the target text changes the model's noise estimates (core.text_mask), the input is inverted under
the empty text, and decoded under the target; after each step, what lies outside the mask is set back to the inversion
at that level. The last level is the input itself, so that its latent returns outside the mask bit for bit.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.masks import feathered, into_state, of_state, to_latent
from imagic.core.noise import NoiseLevels
from imagic.core.options import option
from imagic.core.sampling import LatentProgress, invert, sample
from imagic.core.text_mask import EMPTY, MaskOptions, find_masks
from imagic.core.types import Ability, Backbone, Denoiser, EditResult, FitRequest, Progress, State
from imagic.methods import _common as common


@dataclass(frozen=True)
class DiffEditFit:
    """How the input is inverted: under the empty text, unguided."""

    num_steps: int = option(50, "Steps of the whole schedule, there and back.", minimum=1, maximum=1000)


@dataclass(frozen=True)
class DiffEditEdit(common.StrengthOptions, MaskOptions):
    """How the mask is found, and the inverted input decoded within it. The strength is the paper's encoding ratio r, by
    default its 0.8; guidance is usually 5 to 7.5."""

    guidance_scale: float = option(7.5, "Classifier-free guidance; 1 is none.", minimum=0.0, maximum=50.0)
    target_text: str = option("", "Another target than that of the fit.")
    max_batch: int = option(16, "Most images sampled at once; lower it when memory runs out.", minimum=1, maximum=4096)


class DiffEdit:
    """The method `diffedit`, see the head of this file."""

    name: ClassVar[str] = "diffedit"
    paper: ClassVar[str] = (
        "Couairon et al., DiffEdit: Diffusion-Based Semantic Image Editing with Mask Guidance, ICLR 2023"
    )
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE, Ability.INVERSION})
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = DiffEditFit
    EditOptions: ClassVar[type] = DiffEditEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(self, backbone: Backbone, request: FitRequest, options: DiffEditFit) -> Generator[Progress, None, State]:
        """Invert the input through the whole schedule, which serves every strength, target and mask.

        Raises AbilityError, TextError for an empty target, OptionError for too many steps.
        """
        common.check_fit(self, backbone, request)
        schedule = backbone.schedule(options.num_steps)
        z0 = backbone.encode(request.image)
        trajectory = yield from invert(backbone, z0, schedule, backbone.encode_text([""]))
        tensors = {"z0": z0.cpu(), "trajectory": trajectory[:, 0].cpu()}
        return into_state(State(self.name, tensors, common.facts(backbone, request, options)), request.mask)

    def edit(
        self, backbone: Backbone, state: State, options: DiffEditEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Each seed at each strength. A seed draws the noises of its own mask; with the mask of the state nothing is
        drawn, and all seeds give the same.

        The result's mask is on the latent grid, one for each seed, or one for all. Raises StateError when the state is
        another model's.
        """
        common.check_edit(self, backbone, state, seeds)
        inputs = common.Inputs.unpack(self, backbone, state, options.target_text)
        schedule = backbone.schedule(inputs.fit_options.num_steps)
        trajectory = state.tensors["trajectory"].to(backbone.device)  # (N + 1, C, h, w), aligned with the schedule
        different = list(dict.fromkeys(seeds))
        found = yield from masks(backbone, state, inputs, different, options)

        def mask_of(seeds: Sequence[int]) -> Tensor:
            return found if len(found) == 1 else found[[different.index(seed) for seed in seeds]]

        def render(strength: float, seeds: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            part = common.part_of(schedule, strength)
            path = trajectory[-len(part) :, None]
            return decode(backbone, path, part, mask_of(seeds), inputs.target, inputs.null, options.guidance_scale)

        result = yield from common.render_each(
            backbone, inputs.z0, render, options.asked, seeds, options.max_batch, text=inputs.target
        )
        mask = mask_of(seeds).cpu()
        return replace(result, mask=mask, warnings=[] if bool(mask.flatten(1).any(1).all()) else [EMPTY])


def masks(
    backbone: Backbone, state: State, inputs: common.Inputs, seeds: Sequence[int], options: DiffEditEdit
) -> Generator[Progress, None, Tensor]:
    """The mask of the state for all seeds, (1, 1, h, w), or one that is found for each, (N, 1, h, w)."""
    given = of_state(state)
    if given is None:
        reference = inputs.null if options.mask_reference == "empty" else inputs.source
        return (yield from find_masks(backbone, inputs.z0, inputs.target, reference, inputs.null, seeds, options))
    height, width = inputs.z0.shape[-2:]
    latent = to_latent(1 - given if options.mask_invert else given, height, width)
    return feathered(latent, options.mask_feather).to(backbone.device)


def decode(
    denoiser: Denoiser,
    path: Tensor,
    part: NoiseLevels,
    mask: Tensor,
    target: Conditioning,
    null: Conditioning,
    guidance_scale: float,
) -> Generator[LatentProgress, None, Tensor]:
    """The masked decoding (Sec. 3.2, step 3), y = M y + (1 - M) z at the level just reached; (B, C, h, w).

    path: the inversion z at the levels of `part`, (len(part), 1, C, h, w), noisy to clean. mask: (B, 1, h, w).
    """
    z, total = path[0].expand(len(mask), *path.shape[2:]), len(part) - 1
    for step in range(total):
        for progress in sample(denoiser, z, part[step : step + 2], target, null, guidance_scale):
            z = torch.lerp(path[step + 1], progress.z, mask)  # exact at 0 and at 1
            yield replace(progress, step=step + 1, total=total, z=z)
    return z
