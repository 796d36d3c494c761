"""SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations (Meng et al., ICLR 2022).

The input is noised up to a level, where its details are gone and its layout is not, and denoised from there under the
target text: z_K = alpha_K z0 + sigma_K eps, then K steps. The level trades closeness to the input against the text.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from imagic.core.errors import OptionError
from imagic.core.options import option
from imagic.core.sampling import LatentProgress, sample
from imagic.core.seeds import draw, generator
from imagic.core.types import Ability, Backbone, EditResult, FitRequest, Progress, State
from imagic.methods import _common as common


@dataclass(frozen=True)
class SDEditFit:
    """Nothing to choose: the input is only encoded."""


@dataclass(frozen=True)
class SDEditEdit(common.StrengthOptions):
    """How the noised input is denoised. Strength 0.8, 50 steps and guidance 7.5 are the usual ones of Stable Diffusion;
    the paper has no text, and its useful strengths are 0.3 to 0.6 for strokes."""

    num_steps: int = option(50, "Sampling steps of the whole schedule.", minimum=1, maximum=1000)
    guidance_scale: float = option(7.5, "Classifier-free guidance; 1 is none.", minimum=0.0, maximum=50.0)
    sampler: str = option("ddim", "Sampler of the results.", choices=("ddim", "dpmpp_2m"))
    ddim_noise: float = option(
        0.0, "Fresh noise in each DDIM step: 0 is the ODE, 1 the paper's SDE.", minimum=0.0, maximum=1.0
    )
    target_text: str = option("", "Another target than that of the fit.")
    max_batch: int = option(16, "Most images sampled at once; lower it when memory runs out.", minimum=1, maximum=4096)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ddim_noise and self.sampler != "ddim":
            raise OptionError(f"The sampler '{self.sampler}' is deterministic: use 'ddim' with ddim_noise.")


class SDEdit:
    """The method `sdedit`, see the head of this file."""

    name: ClassVar[str] = "sdedit"
    paper: ClassVar[str] = (
        "Meng et al., SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations, ICLR 2022"
    )
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE})
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = SDEditFit
    EditOptions: ClassVar[type] = SDEditEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(self, backbone: Backbone, request: FitRequest, options: SDEditFit) -> Generator[Progress, None, State]:
        """Encode the input. Raises AbilityError, and TextError for an empty target."""
        return (yield from common.fit_by_encoding(self, backbone, request, options))

    def edit(
        self, backbone: Backbone, state: State, options: SDEditEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Each seed at each strength. At strength 0 the result is the reconstruction, bit for bit.

        Raises StateError when the state is another model's, OptionError for unusable options.
        """
        common.check_edit(self, backbone, state, seeds)
        inputs = common.Inputs.unpack(self, backbone, state, options.target_text)
        schedule = backbone.schedule(options.num_steps)

        def render(strength: float, seeds: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            part = common.part_of(schedule, strength)
            generators = [generator(seed) for seed in seeds]
            noise = draw(inputs.z0.shape[1:], generators, backbone.device)
            return sample(
                backbone,
                common.noised(inputs.z0, part, noise),
                part,
                inputs.target,
                inputs.null,
                options.guidance_scale,
                options.sampler,
                ddim_noise=options.ddim_noise,
                generators=generators,
            )

        return (
            yield from common.render_each(
                backbone, inputs.z0, render, options.asked, seeds, options.max_batch, text=inputs.target
            )
        )
