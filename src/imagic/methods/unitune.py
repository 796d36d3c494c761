"""UniTune: Text-Driven Image Editing by Fine Tuning a Diffusion Model on a Single Image (Valevski et al., TOG 2023).

The network is tuned to render the input from a rare token (Imagic's stage B, with that token for the fitted text).
Then "token + edit text" is sampled under strong guidance, from the noised input as in SDEdit, or from pure noise.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from imagic.core.errors import OptionError, StateError
from imagic.core.losses import fixed_pairs
from imagic.core.options import option
from imagic.core.sampling import LatentProgress, sample
from imagic.core.state import pack_change, unpack_change
from imagic.core.types import Ability, Backbone, EditResult, FitRequest, Progress, State, WeightChange
from imagic.methods import _common as common
from imagic.methods._imagic_fit import Subject, fit_network, stored
from imagic.methods._imagic_options import NetworkOptions


@dataclass(frozen=True)
class UniTuneFit(NetworkOptions):
    """How the network is tuned. About 100 steps of four pairs on the cross-attention, and a rate of 1e-4 for that part
    of SD 1 (43,962,560 parameters), are those of the port to Stable Diffusion; the token is the paper's."""

    token: str = option("beikkpic", "A rare word that comes to stand for the input.")
    network_lr: float = option(
        2.26e-5, "Full tuning: learning rate for a network of the size of SD 1's.", minimum=0.0, maximum=1.0
    )
    parts: tuple[str, ...] = option(
        ("attn2",), "Tune only weights whose names contain one of these (attn2: a UNet's cross-attention); empty: all."
    )
    cooldown: float = option(
        0.0, "Share of the steps, the last ones, in which the learning rate falls to zero.", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        if not self.token.strip():
            raise OptionError("UniTune needs a token: give a word that the model hardly knows.")


@dataclass(frozen=True)
class UniTuneEdit(common.StrengthOptions):
    """How the tuned network is sampled. The paper's guidance reaches 32 and more, the port's examples 7.5 and 16."""

    start: str = option(
        "image",
        "image: the input, noised as far as strength says; noise: pure noise, whatever the strength.",
        choices=("image", "noise"),
    )
    num_steps: int = option(50, "Sampling steps of the whole schedule.", minimum=1, maximum=1000)
    guidance_scale: float = option(16.0, "Classifier-free guidance; 1 is none.", minimum=0.0, maximum=100.0)
    sampler: str = option("ddim", "Sampler of the results.", choices=("ddim", "dpmpp_2m"))
    target_text: str = option("", "Another target than that of the fit.")
    max_batch: int = option(16, "Most images sampled at once; lower it when memory runs out.", minimum=1, maximum=4096)


class UniTune:
    """The method `unitune`, see the head of this file."""

    name: ClassVar[str] = "unitune"
    paper: ClassVar[str] = (
        "Valevski et al., UniTune: Text-Driven Image Editing by Fine Tuning a Diffusion Model on a Single Image, "
        "TOG 2023"
    )
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.FINE_TUNING, Ability.GUIDANCE})
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = UniTuneFit
    EditOptions: ClassVar[type] = UniTuneEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(self, backbone: Backbone, request: FitRequest, options: UniTuneFit) -> Generator[Progress, None, State]:
        """Tune the network until the token alone renders the input; the state serves any target.

        Afterwards, whatever happens, the backbone has its original weights; until this generator has ended or is
        closed, the backbone belongs to it. Raises AbilityError, TextError for an empty target, OptionError on
        divergence and for parts that the model does not have.
        """
        common.check_fit(self, backbone, request)
        z0 = backbone.encode(request.image).detach()
        fixed = fixed_pairs(options.measured_pairs, backbone.levels, z0.shape[1:]).to(z0.device)
        token = backbone.encode_text([options.token])
        subject = Subject(z0, fixed, request.seed, options.max_pairs, request.checkpoint)
        change, curve = yield from fit_network(backbone, subject, token, options)
        tensors = {"z0": z0.cpu()}
        if change is not None:
            change = stored(change)
            tensors |= pack_change("change", change)
        facts = {
            **common.facts(backbone, request, options),
            "change": None if change is None else {"kind": change.kind, "facts": dict(change.facts)},
            "losses": {"network": [list(point) for point in curve]},
        }
        return State(self.name, tensors, facts)

    def edit(
        self, backbone: Backbone, state: State, options: UniTuneEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Each seed at each strength. From the input, strength 0 gives the reconstruction, bit for bit.

        Raises StateError when the state is another model's, OptionError for unusable options.
        """
        common.check_edit(self, backbone, state, seeds)
        inputs = common.Inputs.unpack(self, backbone, state)
        text = f"{inputs.fit_options.token} {options.target_text or state.facts['target_text']}"
        target = backbone.encode_text([text])
        schedule = backbone.schedule(options.num_steps)

        def render(strength: float, seeds: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            noise = common.noise_for(inputs.z0, seeds)
            part = schedule if options.start == "noise" else common.part_of(schedule, strength)
            z = noise if options.start == "noise" else common.noised(inputs.z0, part, noise)
            return sample(backbone, z, part, target, inputs.null, options.guidance_scale, options.sampler)

        with backbone.changed(_change(state)):
            result = yield from common.render_each(
                backbone, inputs.z0, render, options.asked, seeds, options.max_batch, text=target
            )
        return replace(result, warnings=[*result.warnings, *_cut(backbone, text)])


def _change(state: State) -> WeightChange | None:
    try:
        described = state.facts["change"]
        return unpack_change(state, "change", described["kind"], described["facts"]) if described else None
    except (KeyError, TypeError) as error:
        raise StateError(f"The state is damaged ({error} is missing or wrong): fit again.") from error


def _cut(backbone: Backbone, text: str) -> list[str]:
    cut = backbone.report_text(text).cut
    return (
        [f"With the token the text is too long for the model, which does not see '{cut}': shorten it."] if cut else []
    )
