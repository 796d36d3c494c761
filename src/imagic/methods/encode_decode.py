"""Encode-Decode: DDIM inversion of the input up to a level, and decoding under the target text from there.

The ablation of DiffEdit (Couairon et al., ICLR 2023, Sec. 3.3) without its mask: as SDEdit, with the noise that the
model itself finds in the input instead of random noise, so that more of the input comes back.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from imagic.core.options import option
from imagic.core.sampling import LatentProgress, invert, sample
from imagic.core.types import Ability, Backbone, EditResult, FitRequest, Progress, State
from imagic.methods import _common as common


@dataclass(frozen=True)
class EncodeDecodeFit:
    """How the input is inverted: under the source text where there is one, else under the empty text, unguided."""

    num_steps: int = option(50, "Steps of the whole schedule, there and back.", minimum=1, maximum=1000)


@dataclass(frozen=True)
class EncodeDecodeEdit(common.StrengthOptions):
    """How the inverted input is decoded. Strength 0.8 and guidance 7.5 as DiffEdit has them for Stable Diffusion."""

    guidance_scale: float = option(7.5, "Classifier-free guidance; 1 is none.", minimum=0.0, maximum=50.0)
    target_text: str = option("", "Another target than that of the fit.")


class EncodeDecode:
    """The method `encode_decode`, see the head of this file."""

    name: ClassVar[str] = "encode_decode"
    paper: ClassVar[str] = (
        "Couairon et al., DiffEdit: Diffusion-Based Semantic Image Editing with Mask Guidance, ICLR 2023 (without mask)"
    )
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE, Ability.INVERSION})
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = EncodeDecodeFit
    EditOptions: ClassVar[type] = EncodeDecodeEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(
        self, backbone: Backbone, request: FitRequest, options: EncodeDecodeFit
    ) -> Generator[Progress, None, State]:
        """Invert the input through the whole schedule, which serves every strength and target.

        Raises AbilityError, TextError for an empty target, OptionError for too many steps.
        """
        common.check_fit(self, backbone, request)
        schedule = backbone.schedule(options.num_steps)
        z0 = backbone.encode(request.image)
        trajectory = yield from invert(backbone, z0, schedule, backbone.encode_text([request.source_text]))
        tensors = {"z0": z0.cpu(), "trajectory": trajectory[:, 0].cpu()}
        return State(self.name, tensors, common.facts(backbone, request, options))

    def edit(
        self, backbone: Backbone, state: State, options: EncodeDecodeEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """The result at each strength; nothing is drawn, so that all seeds give the same.

        Raises StateError when the state is another model's.
        """
        common.check_edit(self, backbone, state, seeds)
        inputs = common.Inputs.unpack(self, backbone, state, options.target_text)
        schedule = backbone.schedule(inputs.fit_options.num_steps)
        trajectory = state.tensors["trajectory"].to(backbone.device)  # (N + 1, C, h, w), aligned with the schedule

        def render(strength: float, _: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            part = common.part_of(schedule, strength)
            start = trajectory[-len(part)][None]
            return sample(backbone, start, part, inputs.target, inputs.null, options.guidance_scale)

        return (
            yield from common.render_each(
                backbone, inputs.z0, render, options.asked, seeds, len(seeds), text=inputs.target
            )
        )
