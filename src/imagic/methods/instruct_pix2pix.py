"""InstructPix2Pix: Learning to Follow Image Editing Instructions (Brooks et al., CVPR 2023).

A network that was trained on (picture, instruction, result) is sampled from pure noise, with the picture beside the
latents and the instruction as its text. Guidance has two scales, one towards the picture and one towards the text.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.errors import StateError
from imagic.core.options import option
from imagic.core.sampling import LatentProgress, sample
from imagic.core.types import Ability, Backbone, Denoiser, EditResult, FitRequest, Progress, State
from imagic.methods import _common as common


@dataclass(frozen=True)
class InstructPix2PixFit:
    """Nothing to choose: the input is only encoded."""


@dataclass(frozen=True)
class InstructPix2PixEdit(common.StrengthOptions):
    """How an instruction is followed. 100 steps and the scales 7.5 and 1.5 are the paper's."""

    strength: float = option(
        0.5,
        "How far the result may go: at 0.5 image_guidance holds; at 1 it is 1, which is none; at 0 it is twice as far "
        "from 1; evenly in between.",
        minimum=0.0,
        maximum=1.0,
    )
    num_steps: int = option(100, "Sampling steps.", minimum=1, maximum=1000)
    guidance_scale: float = option(7.5, "Guidance towards the instruction; 1 is none.", minimum=0.0, maximum=100.0)
    image_guidance: float = option(
        1.5, "Guidance towards the input (1 to 2.2 in the paper); 1 is none.", minimum=0.0, maximum=100.0
    )
    sampler: str = option("ddim", "Sampler of the results.", choices=("ddim", "dpmpp_2m"))
    instruction: str = option("", "Another instruction than that of the fit.")
    max_batch: int = option(16, "Most images sampled at once; lower it when memory runs out.", minimum=1, maximum=4096)

    def image_scale(self, strength: float) -> float:
        """The guidance towards the input at a strength."""
        return 1 + (self.image_guidance - 1) * 2 * (1 - strength)


class InstructPix2Pix:
    """The method `instruct_pix2pix`, see the head of this file."""

    name: ClassVar[str] = "instruct_pix2pix"
    paper: ClassVar[str] = "Brooks et al., InstructPix2Pix: Learning to Follow Image Editing Instructions, CVPR 2023"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.INSTRUCTION, Ability.GUIDANCE})
    texts: ClassVar[tuple[str, ...]] = ("instruction",)
    FitOptions: ClassVar[type] = InstructPix2PixFit
    EditOptions: ClassVar[type] = InstructPix2PixEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(
        self, backbone: Backbone, request: FitRequest, options: InstructPix2PixFit
    ) -> Generator[Progress, None, State]:
        """Encode the input; the state serves any instruction. Raises AbilityError, and TextError for an empty one."""
        state = yield from common.fit_by_encoding(self, backbone, request, options)
        return State(state.method, state.tensors, {**state.facts, "instruction": request.instruction})

    def edit(
        self, backbone: Backbone, state: State, options: InstructPix2PixEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Each seed at each strength, from pure noise.

        Raises StateError when the state is another model's, OptionError for unusable options.
        """
        common.check_edit(self, backbone, state, seeds)
        inputs = common.Inputs.unpack(self, backbone, state)
        if "instruction" not in state.facts:
            raise StateError("The state is damaged (its instruction is missing): fit again.")
        asked = backbone.encode_text([options.instruction or state.facts["instruction"]]).to(backbone.device)
        schedule = backbone.schedule(options.num_steps)

        def render(strength: float, seeds: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            scales = options.guidance_scale, options.image_scale(strength)
            denoiser = TwoScales(backbone, inputs.z0, inputs.null, *scales)
            return sample(denoiser, common.noise_for(inputs.z0, seeds), schedule, asked, sampler=options.sampler)

        return (
            yield from common.render_each(
                backbone, inputs.z0, render, options.asked, seeds, options.max_batch, text=asked
            )
        )


class TwoScales(Denoiser):
    """The network under the guidance of Eq. 3:

    e(0, 0) + s_I (e(x, 0) - e(0, 0)) + s_T (e(x, c) - e(x, 0)) = s_T e(x, c) + (s_I - s_T) e(x, 0) + (1 - s_I) e(0, 0)

    for the picture x and the instruction c. A part whose weight is zero is not run: with both scales 1, e(x, c) alone.
    """

    def __init__(
        self, backbone: Backbone, z0: Tensor, null: Conditioning, text_scale: float, image_scale: float
    ) -> None:
        """z0: (1, C, h, w), the picture's latent. null: the empty text. text_scale, image_scale: s_T and s_I."""
        self.prediction = backbone.prediction
        self._backbone, self._z0, self._null = backbone, z0, null
        self._weights = (text_scale, image_scale - text_scale, 1 - image_scale)

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """As Denoiser.predict, with the instruction as conditioning: one row, or one per row of z."""
        with_image = self._backbone.with_image
        bundles = (
            with_image(conditioning, self._z0),
            with_image(self._null, self._z0),
            with_image(self._null, self._z0, blank=True),
        )
        parts = [
            (weight, bundle.expand(len(z))) for weight, bundle in zip(self._weights, bundles, strict=True) if weight
        ]
        count = len(parts)
        both = Conditioning.cat([bundle for _, bundle in parts])
        outputs = self._backbone.predict(torch.cat([z] * count), timestep.repeat(count), both).chunk(count)
        return sum((weight * output for (weight, _), output in zip(parts, outputs, strict=True)), torch.zeros_like(z))
