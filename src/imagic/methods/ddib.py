"""DDIB: Dual Diffusion Implicit Bridges for Image-to-Image Translation (Su et al., ICLR 2023).

The input runs along the ODE of the source text all the way to noise, and from that noise back along the ODE of the
target text. Between the two stands a Gaussian that both share; there and back again returns the input.
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
class DDIBFit:
    """How the input is inverted."""

    num_steps: int = option(50, "Steps of the whole schedule, there and back.", minimum=1, maximum=1000)


@dataclass(frozen=True)
class DDIBEdit:
    """How the noise is decoded."""

    guidance_scale: float = option(
        1.0, "Classifier-free guidance towards the target; 1, the paper's, is none.", minimum=0.0, maximum=50.0
    )
    target_text: str = option("", "Another target than that of the fit.")


class DDIB:
    """The method `ddib`, see the head of this file. It has no strength: guidance is its knob."""

    name: ClassVar[str] = "ddib"
    paper: ClassVar[str] = "Su et al., Dual Diffusion Implicit Bridges for Image-to-Image Translation, ICLR 2023"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE, Ability.INVERSION})
    texts: ClassVar[tuple[str, ...]] = ("target_text", "source_text")
    FitOptions: ClassVar[type] = DDIBFit
    EditOptions: ClassVar[type] = DDIBEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(self, backbone: Backbone, request: FitRequest, options: DDIBFit) -> Generator[Progress, None, State]:
        """Invert the input under the source text, unguided, to the noisiest level (DDIB, Algorithm 1, line 1).

        Raises AbilityError, TextError for an empty target or source, OptionError for too many steps.
        """
        common.check_fit(self, backbone, request)
        schedule = backbone.schedule(options.num_steps)
        z0 = backbone.encode(request.image)
        trajectory = yield from invert(backbone, z0, schedule, backbone.encode_text([request.source_text]))
        tensors = {"z0": z0.cpu(), "z_T": trajectory[0].cpu()}
        return State(self.name, tensors, common.facts(backbone, request, options))

    def edit(
        self, backbone: Backbone, state: State, options: DDIBEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Decode under the target text (line 2); nothing is drawn, so that all seeds give the same.

        Raises StateError when the state is another model's.
        """
        common.check_edit(self, backbone, state, seeds)
        inputs = common.Inputs.unpack(self, backbone, state, options.target_text)
        schedule = backbone.schedule(inputs.fit_options.num_steps)
        noise = state.tensors["z_T"].to(backbone.device)

        def render(strength: float, _: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            return sample(backbone, noise, schedule, inputs.target, inputs.null, options.guidance_scale)

        return (
            yield from common.render_each(backbone, inputs.z0, render, [1.0], seeds, len(seeds), text=inputs.target)
        )
