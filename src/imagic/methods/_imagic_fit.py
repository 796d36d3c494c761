"""Stages A and B of Imagic: the embedding moves until it describes the image, then the network until it renders it.

Both minimise the same denoising loss, over one thing at a time or, jointly, over both. Rates are those of Stable
Diffusion 1, on which the paper's second implementation ran, and follow two rules elsewhere. *Embedding*: Adam moves
every number by about its rate, so the rate of a tensor is relative to its root mean square, which is about 1 for SD 1's
CLIP-L. *Network*: for the same change of a layer's output Adam's rate goes with 1 / fan-in (Yang et al. 2021), that is
with the width, and parameters go with its square, hence rate x sqrt(SD 1's parameters / tuned parameters). Tuning a
part of a network thus raises its rate, as is usual. A LoRA's output does not depend on the width, and its rate stays.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import torch
from torch import Tensor

from imagic.core import seeds
from imagic.core.checkpoint import Checkpoint
from imagic.core.conditioning import Conditioning
from imagic.core.errors import OptionError
from imagic.core.losses import Pairs, denoising_loss, stratified_pairs
from imagic.core.optimise import Rated, check_finite, minimise
from imagic.core.recomputing import as_memory_allows
from imagic.core.sampling import invert
from imagic.core.types import Backbone, Progress, TuningPlan, WeightChange
from imagic.methods._imagic_options import FitOptions, NetworkOptions

SD1_EMBEDDING_RMS = 1.0
SD1_PARAMETERS = 859_520_964

# (step, loss on the fixed pairs), from before the first update to after the last.
Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Subject:
    """What both stages share. z0: (1, C, h, w), clean; fixed: the pairs that loss curves are measured on; max_pairs:
    most pairs in the network at once; checkpoint: keeps how far the stages are."""

    z0: Tensor
    fixed: Pairs
    seed: int
    max_pairs: int = 1024
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, h, w) of the noise of a pair."""
        return tuple(self.z0.shape[1:])

    def loss(self, backbone: Backbone, pairs: Pairs, conditioning: Conditioning) -> Tensor:
        """The mean denoising loss, a scalar. Gradients flow."""
        return denoising_loss(backbone, self.z0, pairs, conditioning).mean()

    def split(self, pairs: Pairs) -> Iterator[tuple[Pairs, float]]:
        """At most max_pairs of the pairs at once, with their share in the mean."""
        for start in range(0, len(pairs), self.max_pairs):
            part = pairs[start : start + self.max_pairs]
            yield part, len(part) / len(pairs)

    @torch.no_grad()
    def measure(self, backbone: Backbone, conditioning: Conditioning) -> float:
        """The mean denoising loss on the fixed pairs."""
        return sum(share * float(self.loss(backbone, part, conditioning)) for part, share in self.split(self.fixed))


def fit_embedding(
    backbone: Backbone, subject: Subject, start: Conditioning, options: FitOptions
) -> Generator[Progress, None, tuple[Conditioning, Curve]]:
    """Stage A (Imagic, Eq. 2): the embedding from `start` that denoises the image best, weights frozen.

    start: one float32 row. Returns (e_opt, loss curve).
    """
    embedding = start.trainable()
    curve = yield from _stage(
        "embedding",
        backbone,
        subject,
        embedding,
        _rated(embedding, options),
        options.embedding_steps,
        options.embedding_pairs,
        options,
    )
    return embedding.detach(), curve


def fit_jointly(
    backbone: Backbone, subject: Subject, start: Conditioning, options: FitOptions
) -> Generator[Progress, None, tuple[Conditioning, WeightChange | None, Curve]]:
    """Both stages at once (Forgedit, Zhang et al. 2023): one loss moves the embedding from `start` and the weights.

    Returns (e_opt, the change of the weights, loss curve); everything else as for `fit_network`.
    """
    embedding = start.trainable()
    change, curve = yield from fit_network(
        backbone, subject, embedding, options, name="joint", beside=_rated(embedding, options)
    )
    return embedding.detach(), change, curve


def fit_network(
    backbone: Backbone,
    subject: Subject,
    embedding: Conditioning,
    options: NetworkOptions,
    *,
    name: str = "network",
    beside: Sequence[Rated] = (),
) -> Generator[Progress, None, tuple[WeightChange | None, Curve]]:
    """Stage B (Imagic, Sec. 3.2): the weights that render the image from `embedding`, which stays.

    Returns (the change of the weights, loss curve); no change without steps. Whatever happens, the backbone has its
    original weights afterwards; until this generator has ended or is closed, the backbone belongs to it. name: of the
    stage, from which its noise follows. beside: what moves along with the weights.
    """
    if options.network_steps == 0:
        return None, [(0, subject.measure(backbone, embedding))]
    plan = TuningPlan(
        kind=options.tuning, rank=options.rank, alpha=options.alpha, parts=options.parts, seed=subject.seed
    )
    with backbone.tuning(plan) as tuning:
        parameters = list(tuning.parameters.values())
        rate = network_rate(parameters, options)
        curve = yield from _stage(
            name,
            backbone,
            subject,
            embedding,
            [*beside, Rated(parameters, rate)],
            options.network_steps,
            options.network_pairs,
            options,
        )
        return tuning.change(), curve


def own_noise(
    backbone: Backbone, z0: Tensor, embedding: Conditioning, change: WeightChange | None, num_steps: int
) -> Generator[Progress, None, Tensor]:
    """The noise in which DDIM inversion of z0 (1, C, h, w) ends under its fitted text and network, (1, C, h, w)."""
    with backbone.changed(change):
        trajectory = yield from invert(backbone, z0, backbone.schedule(num_steps), embedding)
    return trajectory[0]


def _rated(embedding: Conditioning, options: FitOptions) -> list[Rated]:
    return [Rated([tensor], embedding_rate(tensor, options.embedding_lr)) for tensor in embedding.parameters().values()]


def embedding_rate(tensor: Tensor, rate: float) -> float:
    """The learning rate of an embedding whose rate on SD 1 is `rate` (see the head of this file)."""
    return rate * float(tensor.detach().square().mean().sqrt()) / SD1_EMBEDDING_RMS


def network_rate(parameters: list[torch.nn.Parameter], options: NetworkOptions) -> float:
    """The learning rate of stage B for these weights (see the head of this file)."""
    if options.tuning == "lora":
        return options.lora_lr
    count = sum(parameter.numel() for parameter in parameters)
    return float(options.network_lr * (SD1_PARAMETERS / count) ** 0.5)


def stored(change: WeightChange) -> WeightChange:
    """The change as it is saved and used: half precision, rounded once, so that a saved state makes the same pixels as
    a fresh one. Eleven bits of a *difference* are far below what the network can tell.

    Changes are 1e-6 to 1e-2; below 6e-8 half precision ends, as does their effect on weights of 1e-2. Raises
    OptionError when a change is too large to be stored, which only divergence brings about.
    """
    tensors = {name: tensor.half() for name, tensor in change.tensors.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise OptionError("The tuning diverged: use a lower learning rate for the network.")
    return WeightChange(change.kind, tensors, change.facts)


def _stage(
    name: str,
    backbone: Backbone,
    subject: Subject,
    conditioning: Conditioning,
    groups: list[Rated],
    num_steps: int,
    num_pairs: int,
    options: NetworkOptions,
) -> Generator[Progress, None, Curve]:
    """Minimise the loss over `groups` on fresh pairs, which depend on the seed and the stage alone; from where the
    checkpoint left the stage."""
    shape, generator = subject.shape, seeds.generator(seeds.derive(subject.seed, f"imagic-{name}"))
    stage = subject.checkpoint.stage(name)
    curve: Curve = [(int(step), float(loss)) for step, loss in stage.values.get("curve", [])]
    if curve:
        generator.set_state(stage.tensors["generator"])
    else:
        curve = [(0, subject.measure(backbone, conditioning))]

    def objective(_: int) -> Iterator[Tensor]:
        pairs = stratified_pairs(num_pairs, backbone.levels, shape, generator)
        for part, share in subject.split(pairs):
            with backbone.lower_precision():
                loss = subject.loss(backbone, part, conditioning)
            yield share * loss
            del loss  # frees its graph

    def some(rows: int) -> Tensor:
        with backbone.lower_precision():
            return subject.loss(backbone, subject.fixed[torch.zeros(rows, dtype=torch.long)], conditioning)

    betas = (options.beta1, options.beta2)
    parameters = [parameter for group in groups for parameter in group.parameters]
    updates = minimise(objective, groups, num_steps, betas, options.adam_eps, stage, cooldown=options.cooldown)
    with (
        as_memory_allows(backbone, name, some, min(num_pairs, subject.max_pairs), parameters),
        closing(updates),
    ):
        for step, loss in enumerate(updates, start=stage.step + 1):
            values = {"loss": loss}
            finished = step == num_steps
            if step % options.measure_every == 0 or finished:
                curve.append((step, subject.measure(backbone, conditioning)))
                values["fixed_loss"] = curve[-1][1]
                check_finite(curve[-1][1], name, step, num_steps)
                if options.early_stop and curve[-1][1] > (1 - options.early_stop) * curve[-2][1]:
                    finished = True
            stage.reached(step, {"generator": generator.get_state()}, {"curve": curve}, finished=finished)
            yield Progress(name, step, num_steps, values)
            if finished:
                break
    return curve
