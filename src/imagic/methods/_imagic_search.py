"""The sweeps behind automatic eta: cheap renderings with common noise, each scored for closeness and for agreement.

Closeness is measured in latents, which cost nothing more; agreement by the *untuned* model, which knows what the text
means and nothing of this image, on (t, eps) common to all candidates, so that their differences are not noise; or,
where asked, by a CLIP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from imagic.core.encoder import open_encoder
from imagic.core.losses import fixed_pairs, text_agreement
from imagic.core.sampling import Sampler
from imagic.core.types import Backbone, Candidate, Progress
from imagic.methods._imagic_options import EditOptions
from imagic.methods._imagic_render import Fitted, Shot, render
from imagic.methods._strength import Choice, choose_eta, neighbours

# (latent (1, C, h, w), its picture (3, H, W)) -> agreement with the text, higher fits better.
Agreement: TypeAlias = Callable[[Tensor, Tensor], float]
# A hundredth of a cosine then counts as little as the least rise of the other measure, see choose_eta.
CLIP_SCALE = 20.0


@dataclass(frozen=True)
class Search:
    """shots: the chosen strength for each seed. sweep: all candidates, ordered by seed and strength. choices: one per
    seed."""

    shots: Sequence[Shot]
    sweep: Sequence[Candidate]
    choices: Sequence[Choice]


def agreement_with(backbone: Backbone, fitted: Fitted, options: EditOptions) -> Agreement:
    """The asked measure of agreement with the target text: core.losses.text_agreement, or CLIP_SCALE x CLIP's cosine.

    Raises NotAvailable without the CLIP.
    """
    if options.agreement_by == "clip":
        encoder = open_encoder(options.encoder, backbone.device)
        wanted = encoder.embed_texts([fitted.target_text])

        def by_clip(z: Tensor, image: Tensor) -> float:
            with torch.no_grad():
                return CLIP_SCALE * float((encoder.embed_images(image[None].to(backbone.device)) * wanted).sum())

        return by_clip
    pairs = fixed_pairs(options.agreement_pairs, backbone.levels, fitted.z0.shape[1:])

    def by_denoiser(z: Tensor, image: Tensor) -> float:
        rows = 2 * options.max_batch
        with backbone.lower_precision():
            return float(text_agreement(backbone, z, fitted.target, fitted.reference, pairs, batch_size=rows)[0])

    return by_denoiser


def search(
    backbone: Backbone,
    fitted: Fitted,
    round_trip: Tensor,
    seeds: Sequence[int],
    options: EditOptions,
    agreement: Agreement,
) -> Generator[Progress, None, Search]:
    """Each seed's own eta: a coarse sweep from 0 to 1, the knee, and a finer look around it."""
    coarse = [i / (options.candidates - 1) for i in range(options.candidates)]
    found = yield from _sweep(
        backbone,
        fitted,
        round_trip,
        [Shot(eta, seed) for seed in seeds for eta in coarse],
        options,
        agreement,
        "search",
    )
    by_seed = {seed: [c for c in found if c.seed == seed] for seed in seeds}
    finer = []
    for seed, candidates in by_seed.items():
        knee = _choice(candidates, options).knee
        if knee is not None:
            finer += [Shot(eta, seed) for eta in neighbours(coarse, knee, options.refine)]
    if finer:
        found = yield from _sweep(backbone, fitted, round_trip, finer, options, agreement, "refine")
        for candidate in found:
            by_seed[candidate.seed].append(candidate)
    shots, sweep, choices = [], [], []
    for seed, candidates in by_seed.items():
        candidates.sort(key=lambda candidate: candidate.strength)
        choice = _choice(candidates, options)
        shots.append(Shot(choice.eta, seed))
        choices.append(choice)
        if choice.knee is not None:
            candidates = [
                replace(candidate, scores={**candidate.scores, "utility": utility})
                for candidate, utility in zip(candidates, choice.utility, strict=True)
            ]
        sweep += candidates
    return Search(shots, sweep, choices)


def score(
    backbone: Backbone,
    fitted: Fitted,
    round_trip: Tensor,
    shots: Sequence[Shot],
    z: Tensor,
    agreement: Agreement | None,
    *,
    stage: str,
) -> Generator[Progress, None, list[Candidate]]:
    """The shots' pictures and scores, one progress per shot.

    z: (N, C, h, w). round_trip: (3, H, W) on the CPU. `distance` is the RMS difference to the input's latent over that
    latent's standard deviation, `psnr` (dB) that of the picture against the round trip, `agreement` as `agreement_with`
    says, where that is given.
    """
    candidates = []
    for i, shot in enumerate(shots):
        image = backbone.decode(z[i : i + 1])[0].cpu()
        scores = {
            "distance": float((z[i] - fitted.z0[0]).square().mean().sqrt() / fitted.z0.std()),
            "psnr": psnr(image, round_trip),
        }
        if agreement is not None:
            scores["agreement"] = agreement(z[i : i + 1], image)
        candidates.append(Candidate(image, shot.eta, shot.seed, scores))
        yield Progress(stage, i + 1, len(shots), scores)
    return candidates


def psnr(image: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB for images in [-1, 1]; equal images give 106 dB, not infinity."""
    return 10 * math.log10(4 / max(float((image - other).square().mean()), 1e-10))


def _sweep(
    backbone: Backbone,
    fitted: Fitted,
    round_trip: Tensor,
    shots: list[Shot],
    options: EditOptions,
    agreement: Agreement,
    stage: str,
) -> Generator[Progress, None, list[Candidate]]:
    with backbone.lower_precision():  # a candidate shows where the edit is made, and is not kept
        z = yield from render(
            backbone, fitted, shots, options, num_steps=options.search_steps, sampler=Sampler.DPMPP_2M, stage=stage
        )
    return (yield from score(backbone, fitted, round_trip, shots, z, agreement, stage=f"{stage}: score"))


def _choice(candidates: Sequence[Candidate], options: EditOptions) -> Choice:
    return choose_eta(
        [candidate.strength for candidate in candidates],
        [candidate.scores["agreement"] for candidate in candidates],
        [candidate.scores["distance"] for candidate in candidates],
        options.closeness_weight,
    )
