"""Ways back from an image to noise from which guided sampling under the source text renders the image again.

All walk the source text's ODE without guidance, which gives one latent per level, the *pivots*; guidance then leads
away from them. *Null-text inversion* (Mokady et al., CVPR 2023) tunes the empty embedding of each level until the
guided step lands on the next pivot. *Negative-prompt inversion* (Miyake et al., 2023) takes the source text for
the empty one, so that guidance does nothing to the source. *Direct inversion* (Ju et al., ICLR 2024) adds to the source
branch what it misses of each pivot, that is, sets it to the pivot. *DDIM inversion* mends nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.core.checkpoint import Checkpoint, Stage
from imagic.core.conditioning import Conditioning
from imagic.core.errors import AbilityError
from imagic.core.noise import NoiseLevels, add_noise, to_x0_eps
from imagic.core.optimise import Rated, minimise
from imagic.core.options import option
from imagic.core.sampling import invert, sample
from imagic.core.state import pack_conditioning
from imagic.core.types import Ability, Backbone, Progress
from imagic.methods._imagic_fit import embedding_rate

KINDS = ("direct", "null_text", "negative_prompt", "ddim")


@dataclass(frozen=True)
class InversionOptions:
    """How an image is inverted. Steps, guidance, inner steps, rate and tolerance are those of null-text inversion on
    Stable Diffusion 1; direct is the default, since it reconstructs exactly and costs no optimisation."""

    inversion: str = option(
        "direct",
        "What keeps the source branch on the input: direct (the pivots themselves), null_text (an empty embedding "
        "tuned for each step), negative_prompt (the source text as the empty one), or ddim (nothing).",
        choices=KINDS,
    )
    num_steps: int = option(50, "Steps of the whole schedule, there and back.", minimum=1, maximum=1000)
    guidance_scale: float = option(
        7.5, "Classifier-free guidance on the way back; 1 is none.", minimum=0.0, maximum=50.0
    )
    inner_steps: int = option(10, "Null-text: most Adam steps for each level.", minimum=0, maximum=10_000)
    null_lr: float = option(
        1e-2,
        "Null-text: learning rate at the noisiest level, for embeddings of RMS 1; it falls by half to the cleanest.",
        minimum=0.0,
        maximum=1.0,
    )
    tolerance: float = option(
        1e-5,
        "Null-text: mean squared error that ends a level; it grows to 101 times that at the cleanest.",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass(frozen=True)
class Inversion:
    """pivots: (levels, 1, C, h, w), aligned with the schedule, noisiest first, the last is the input.
    nulls: null-text's empty embeddings, one row for each step, or None. errors: root mean square difference between the
    input and what comes back, untuned and tuned; empty for the other kinds."""

    pivots: Tensor
    nulls: Conditioning | None
    errors: dict[str, float]


def invert_image(
    backbone: Backbone,
    z0: Tensor,
    schedule: NoiseLevels,
    source: Conditioning,
    null: Conditioning,
    options: InversionOptions,
    checkpoint: Checkpoint,
) -> Generator[Progress, None, Inversion]:
    """z0: (1, C, h, w); source, null: one row; checkpoint: keeps how far null-text inversion is.

    Raises AbilityError where null-text inversion has no gradient.
    """
    tunes = options.inversion == "null_text" and options.guidance_scale != 1 and options.inner_steps > 0
    if tunes and Ability.TEXT_GRADIENT not in backbone.abilities:
        raise AbilityError(
            f"Null-text inversion needs gradients to the text, which '{backbone.name}' does not have: use inversion "
            "'direct'."
        )
    pivots = yield from invert(backbone, z0, schedule, source)
    if not tunes:
        return Inversion(pivots, None, {})
    return (yield from _tune_nulls(backbone, pivots, schedule, source, null, options, checkpoint.stage("null-text")))


def _tune_nulls(
    backbone: Backbone,
    pivots: Tensor,
    schedule: NoiseLevels,
    source: Conditioning,
    null: Conditioning,
    options: InversionOptions,
    stage: Stage,
) -> Generator[Progress, None, Inversion]:
    """Algorithm 1 of null-text inversion. Each level begins with the embedding of the one before.

    The rate 1e-2 (1 - i / 100) and the tolerance 1e-5 + 2e-5 i of the authors' 50 steps are functions of i / 50 here.
    What comes back with the tuned embeddings is never farther from the input than without: else they are not used.
    """
    z, rows, total = pivots[0], [null], len(schedule) - 1
    if stage.step:
        z = stage.tensors["z"].to(z.device)
        tuned_rows = {name: stage.tensors[f"null.{name}"] for name in null.tensors}
        found = Conditioning(tuned_rows, null.learnable).to(z.device)
        rows += [found[step : step + 1] for step in range(stage.step)]
    for step in range(stage.step, total):
        levels, elapsed = schedule[step : step + 2], step / total
        rate, tolerance = options.null_lr * (1 - elapsed / 2), options.tolerance * (1 + 100 * elapsed)
        tuned, loss = _tune_null(backbone, z, pivots[step + 1], levels, source, rows[-1], rate, tolerance, options)
        rows.append(tuned)
        for progress in sample(backbone, z, levels, source, tuned, options.guidance_scale):
            z = progress.z
        kept = {"z": z, **pack_conditioning("null", Conditioning.cat(rows[1:]))}
        stage.reached(step + 1, kept, finished=step + 1 == total)
        yield Progress("null-text", step + 1, total, {"loss": loss})
    plain = pivots[0]
    for progress in sample(
        backbone, plain, schedule, source, null, options.guidance_scale, stage="null-text: comparison"
    ):
        plain = progress.z
        yield progress
    errors = {"untuned": _rms(plain - pivots[-1]), "tuned": _rms(z - pivots[-1])}
    nulls = Conditioning.cat(rows[1:]) if errors["tuned"] <= errors["untuned"] else None
    return Inversion(pivots, nulls, errors)


def _tune_null(
    backbone: Backbone,
    z: Tensor,
    pivot: Tensor,
    levels: NoiseLevels,
    source: Conditioning,
    start: Conditioning,
    rate: float,
    tolerance: float,
    options: InversionOptions,
) -> tuple[Conditioning, float]:
    """The empty embedding, from `start`, with which the guided step from z lands on `pivot`, and the last loss seen.

    levels: the level of z and the next; rate: for a source text of RMS 1 (the empty text of some models is all zeros).
    """
    timestep, scale = levels.timestep[:1], options.guidance_scale
    with torch.no_grad():
        conditional = backbone.predict(z, timestep, source)
    null = start.trainable()

    def miss(_: int) -> Tensor:
        unconditional = backbone.predict(z, timestep, null)
        output = unconditional + scale * (conditional - unconditional)
        x0_hat, eps_hat = to_x0_eps(output, z, levels.alpha[0], levels.sigma[0], backbone.prediction)
        return F.mse_loss(add_noise(x0_hat, eps_hat, levels.alpha[1], levels.sigma[1]), pivot)

    groups = [Rated([tensor], embedding_rate(source.tensors[name], rate)) for name, tensor in null.parameters().items()]
    named = Checkpoint().stage(f"null-text at timestep {float(timestep):g}")  # too short to be kept in parts
    updates, loss = minimise(miss, groups, options.inner_steps, stage=named), 0.0
    for loss in updates:
        if loss < tolerance:
            break
    updates.close()
    return null.detach(), loss


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())
