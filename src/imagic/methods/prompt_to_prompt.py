"""Prompt-to-Prompt Image Editing with Cross Attention Control (Hertz et al., ICLR 2023).

The input is inverted under the text that describes it. From its noise two rows are denoised together, one under that
text and one under the target, and for a first share of the steps the second takes the first one's attention maps: what
both texts say stays where it was, and only what the target changes is drawn anew.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.errors import OptionError, StateError
from imagic.core.noise import NoiseLevels
from imagic.core.options import option
from imagic.core.sampling import LatentProgress, sample
from imagic.core.state import pack_conditioning, unpack_conditioning
from imagic.core.types import Ability, Backbone, EditResult, FitRequest, Method, Progress, State
from imagic.core.wording import Wording
from imagic.methods import _common as common
from imagic.methods._attention_control import LocalBlend, Sharing, SharingDenoiser
from imagic.methods._inversions import InversionOptions, invert_image
from imagic.methods._token_alignment import align

# Row 0 is the source, row 1 the target.
GIVER = (0, 0)


@dataclass(frozen=True)
class PromptToPromptEdit(common.StrengthOptions):
    """How the target is bound to the source. Shares, threshold and sizes are those of the authors' code."""

    strength: float = option(
        0.5,
        "How loose the target is: at 0.5 cross_steps and self_steps hold, at 0 both are 1, at 1 both are 0, and in "
        "between they change evenly.",
        minimum=0.0,
        maximum=1.0,
    )
    cross_steps: float = option(
        0.8, "The first share of the steps with the source's attention to the text.", minimum=0.0, maximum=1.0
    )
    self_steps: float = option(
        0.4, "The first share of the steps with the source's attention within the image.", minimum=0.0, maximum=1.0
    )
    self_tokens: int = option(
        1024, "Attention within the image is shared in layers of at most so many positions.", minimum=0, maximum=65_536
    )
    alignment: str = option(
        "auto",
        "replace: word for word; refine: what both texts have, in order; auto: replace for equally many words.",
        choices=("auto", "replace", "refine"),
    )
    reweight: tuple[str, ...] = option(
        (), "Words of the target whose attention is scaled while it is shared, as word:weight, such as ['snowy:2']."
    )
    blend_words: tuple[str, ...] = option(
        (), "Words of either text; only where they look does the result differ from the source. Empty: everywhere."
    )
    blend_start: float = option(0.2, "Blending begins after this share of the steps.", minimum=0.0, maximum=1.0)
    blend_threshold: float = option(
        0.3, "A word looks where its attention exceeds this share of its maximum.", minimum=0.0, maximum=1.0
    )
    target_text: str = option("", "Another target than that of the fit.")

    def __post_init__(self) -> None:
        super().__post_init__()
        weights_of(self.reweight)

    def share(self, middle: float, strength: float) -> float:
        """The share of the steps at a strength, where `middle`, cross_steps or self_steps, is that at 0.5."""
        return 1 - (1 - middle) * 2 * strength if strength < 0.5 else middle * 2 * (1 - strength)


class PromptToPrompt:
    """The method `prompt_to_prompt`, see the head of this file."""

    name: ClassVar[str] = "prompt_to_prompt"
    paper: ClassVar[str] = "Hertz et al., Prompt-to-Prompt Image Editing with Cross Attention Control, ICLR 2023"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.CROSS_ATTENTION, Ability.GUIDANCE, Ability.INVERSION})
    texts: ClassVar[tuple[str, ...]] = ("target_text", "source_text")
    FitOptions: ClassVar[type] = InversionOptions
    EditOptions: ClassVar[type] = PromptToPromptEdit
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(
        self, backbone: Backbone, request: FitRequest, options: InversionOptions
    ) -> Generator[Progress, None, State]:
        """Invert the input under the source text; the state serves any target.

        Raises AbilityError, TextError for an empty target or source, OptionError for too many steps.
        """
        common.check_fit(self, backbone, request)
        schedule = backbone.schedule(options.num_steps)
        z0 = backbone.encode(request.image)
        # Each text alone, as for the edit, so that the pivots fit it bit for bit.
        source, null = backbone.encode_text([request.source_text]), backbone.encode_text([""])
        inversion = yield from invert_image(backbone, z0, schedule, source, null, options, request.checkpoint)
        tensors = {"z0": z0.cpu(), "pivots": inversion.pivots.cpu()}
        if inversion.nulls is not None:
            tensors |= pack_conditioning("nulls", inversion.nulls)
        facts = {
            **common.facts(backbone, request, options),
            "nulls": None if inversion.nulls is None else sorted(inversion.nulls.learnable),
            "errors": inversion.errors,
        }
        return State(self.name, tensors, facts)

    def edit(
        self, backbone: Backbone, state: State, options: PromptToPromptEdit, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Each strength; nothing is drawn, so that all seeds give the same.

        The reconstruction is the source branch's. Raises StateError when the state is another model's, OptionError for
        unusable options, AbilityError when the model does not show its attention.
        """
        common.check_edit(self, backbone, state, seeds)
        pair = _Pair.unpack(self, backbone, state, options.target_text)
        schedule = backbone.schedule(len(pair.pivots) - 1)
        sources: list[Tensor] = []

        def render(strength: float, _: Sequence[int]) -> Generator[LatentProgress, None, Tensor]:
            sharing = pair.sharing(options, strength)
            z = yield from _denoise(backbone, schedule, pair, sharing, pair.blend(options))
            sources.append(z[:1])
            return z[1:]

        result = yield from common.render_each(
            backbone, pair.inputs.z0, render, options.asked, seeds, max_batch=len(seeds), text=pair.inputs.target
        )
        return replace(result, reconstruction=backbone.decode(sources[0])[0].cpu())


@dataclass(frozen=True)
class _Pair:
    """The source and the target of an edit. pivots: see Inversion. nulls: the empty text, one row for each step.
    pinned: whether the source branch is set to the pivots."""

    inputs: common.Inputs
    source: Wording
    target: Wording
    pivots: Tensor
    nulls: Conditioning
    pinned: bool

    @staticmethod
    def unpack(method: Method, backbone: Backbone, state: State, target_text: str) -> _Pair:
        """target_text: another target; empty for that of the fit. Raises StateError for a damaged state."""
        inputs = common.Inputs.unpack(method, backbone, state, target_text)
        try:
            pivots, learnable = state.tensors["pivots"], state.facts["nulls"]
        except KeyError as error:
            raise StateError(f"The state is damaged ({error} is missing): fit again.") from error
        kind = inputs.fit_options.inversion
        if learnable is not None:
            nulls = unpack_conditioning(state, "nulls", learnable)
        else:
            nulls = inputs.source if kind == "negative_prompt" else inputs.null
        return _Pair(
            inputs,
            Wording.of(backbone, str(state.facts["source_text"])),
            Wording.of(backbone, target_text or str(state.facts["target_text"])),
            pivots.to(backbone.device),
            nulls.to(backbone.device).expand(len(pivots) - 1),
            pinned=kind == "direct",
        )

    def sharing(self, options: PromptToPromptEdit, strength: float) -> Sharing:
        """Raises OptionError for words that the texts lack, and for texts that cannot be aligned as asked."""
        weights = torch.ones(len(self.target.tokens))
        for word, weight in weights_of(options.reweight).items():
            weights[_found(word, self.target.find(word), "the target text")] = weight
        return Sharing(
            GIVER,
            options.share(options.cross_steps, strength),
            options.share(options.self_steps, strength),
            align(self.source, self.target, options.alignment),
            weights,
            options.self_tokens,
        )

    def blend(self, options: PromptToPromptEdit) -> LocalBlend | None:
        """Raises OptionError for words that neither text has."""
        if not options.blend_words:
            return None
        words = torch.zeros(2, len(self.target.tokens))
        for word in options.blend_words:
            positions = [text.find(word) for text in (self.source, self.target)]
            _found(word, positions[0] + positions[1], "the source or the target text")
            for row, found in enumerate(positions):
                words[row, found] = 1
        start = int(options.blend_start * len(self.nulls))
        return LocalBlend(GIVER, words, start, options.blend_threshold)


def _denoise(
    backbone: Backbone, schedule: NoiseLevels, pair: _Pair, sharing: Sharing, blend: LocalBlend | None
) -> Generator[LatentProgress, None, Tensor]:
    """Source and target from the noisiest pivot, (2, C, h, w). What is yielded shows the target alone."""
    denoiser = SharingDenoiser(backbone, backbone, schedule, sharing, blend)
    texts = Conditioning.cat([pair.inputs.source, pair.inputs.target])
    z, total = pair.pivots[0].repeat(2, 1, 1, 1), len(schedule) - 1
    for step in range(total):
        levels, null = schedule[step : step + 2], pair.nulls[step : step + 1]
        for progress in sample(denoiser, z, levels, texts, null, pair.inputs.fit_options.guidance_scale):
            z = progress.z
            if pair.pinned:
                z = torch.cat([pair.pivots[step + 1], z[1:]])
            if blend is not None:
                z = blend(z, step)
            yield replace(progress, step=step + 1, total=total, z=z[1:], x0_hat=progress.x0_hat[1:])
    return z


def weights_of(reweight: Sequence[str]) -> dict[str, float]:
    """word -> weight out of "word:weight". Raises OptionError for anything else."""
    weights = {}
    for item in reweight:
        word, _, number = str(item).rpartition(":")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not word.strip() or not math.isfinite(weight):
            raise OptionError(f"Each of reweight must be word:weight, such as 'snowy:2', not '{item}'.")
        weights[word] = weight
    return weights


def _found(word: str, positions: list[int], where: str) -> list[int]:
    if not positions:
        raise OptionError(f"The word '{word}' is not in {where}, or where the model has cut it off.")
    return positions
