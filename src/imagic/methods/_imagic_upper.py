"""Imagic on a cascade (Imagic, Sec. 3.2): the first super-resolution stage is tuned beside the base.

It learns the input's details from the input itself and its smaller picture, under the text as it was given: what it
will enlarge is an edited picture, to which that text belongs and e_opt does not. Stages above stay as they are.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from imagic.core.cascade import paint
from imagic.core.conditioning import Conditioning
from imagic.core.errors import StateError
from imagic.core.losses import Pairs, denoising_loss, fixed_pairs
from imagic.core.state import unpack_change
from imagic.core.types import Backbone, Candidate, FitRequest, Progress, State, UpperStage, WeightChange
from imagic.methods._imagic_fit import Curve, Subject, fit_network
from imagic.methods._imagic_options import FitOptions


@dataclass(frozen=True, kw_only=True)
class UpperSubject(Subject):
    """The picture (1, 3, H, W) that a stage is to make of a smaller one (1, 3, h, w).

    A pair has twice its channels: the noise in the picture, and that on the smaller one, enlarged.
    """

    stage: UpperStage
    smaller: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return 2 * self.z0.shape[1], *self.z0.shape[2:]

    def loss(self, backbone: Backbone, pairs: Pairs, conditioning: Conditioning) -> Tensor:
        eps, noise = pairs.eps.to(self.z0.device).chunk(2, dim=1)
        seen = self.stage.beside(conditioning, self.smaller, noise)
        return denoising_loss(backbone, self.z0, Pairs(pairs.index, eps), seen).mean()


def fit_upper(
    backbone: Backbone, request: FitRequest, text: Conditioning, options: FitOptions
) -> Generator[Progress, None, tuple[WeightChange | None, Curve]]:
    """The change of a cascade's first upper stage, and its loss curve; none without such a stage, or without steps.

    text: one row, of what the input is fitted to. As `fit_network` otherwise.
    """
    stages = backbone.upper_stages()
    if not stages or options.upper_steps == 0:
        return None, []
    stage = stages[0]
    z0 = stage.encode(request.image)
    subject = UpperSubject(
        z0=z0,
        fixed=fixed_pairs(options.measured_pairs, stage.levels, (2 * z0.shape[1], *z0.shape[2:])),
        seed=request.seed,
        max_pairs=options.max_pairs,
        checkpoint=request.checkpoint,
        stage=stage,
        smaller=backbone.encode(request.image),
    )
    own = replace(options, network_steps=options.upper_steps)
    return (yield from fit_network(stage, subject, text, own, name="upper"))


def with_details(
    backbone: Backbone, state: State, text: Conditioning, candidates: Sequence[Candidate], z: Tensor
) -> Generator[Progress, None, list[Candidate]]:
    """The candidates with the pictures that a cascade's upper stages paint of z (N, C, h, w), under the text (one row),
    each from its seed's noise; as they are where there is no cascade. Raises StateError for a damaged state."""
    if not backbone.upper_stages():
        return list(candidates)
    change = _change(state)
    painted = []
    for number, candidate in enumerate(candidates):
        label = f", {number + 1} of {len(candidates)}" if len(candidates) > 1 else ""
        image = yield from _labelled(paint(backbone, z[number : number + 1], text, candidate.seed, change), label)
        painted.append(replace(candidate, image=image[0].cpu()))
    return painted


def _labelled(work: Generator[Progress, None, Tensor], label: str) -> Generator[Progress, None, Tensor]:
    try:
        while True:
            progress = next(work)
            yield replace(progress, stage=progress.stage + label)
    except StopIteration as finished:
        image: Tensor = finished.value
        return image
    finally:
        work.close()


def _change(state: State) -> WeightChange | None:
    try:
        described = state.facts.get("upper")
        return unpack_change(state, "upper", described["kind"], described["facts"]) if described else None
    except (KeyError, TypeError) as error:
        raise StateError(f"The state is damaged ({error} is missing or wrong): fit again.") from error
