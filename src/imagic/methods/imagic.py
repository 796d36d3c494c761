"""Imagic: Text-Based Real Image Editing with Diffusion Models (Kawar et al., CVPR 2023).

The embedding of the target text is optimised until it describes the image (A), the network is fine-tuned until it
renders the image from that embedding (B), and an embedding between the two, at strength eta, gives the edit (C).
Beyond the paper: edits begin with the image's own noise, found by DDIM inversion, so that A and B need not hold all of
the image and leave more room for the text; eta is found on the image itself; one fit under a source text can serve many
targets (Forgedit), and tells the edit from the picture; stage B may be a LoRA.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from imagic.core.conditioning import Conditioning
from imagic.core.losses import fixed_pairs
from imagic.core.state import pack_change, pack_conditioning
from imagic.core.types import Ability, Backbone, Candidate, EditResult, FitRequest, Progress, State, WeightChange
from imagic.methods import _common as common
from imagic.methods import _imagic_options as options_of
from imagic.methods._imagic_fit import Curve, Subject, fit_embedding, fit_jointly, fit_network, own_noise, stored
from imagic.methods._imagic_render import Fitted, Shot, render, touched_by_text
from imagic.methods._imagic_search import agreement_with, psnr, score, search
from imagic.methods._imagic_upper import fit_upper, with_details

# Ten steps of stage A, after which the paper can no longer edit, give a few hundredths; useful fits 0.2 and more.
LEAST_MOVE = 0.1
# Below this a reader no longer takes eta 0 for the input.
LEAST_RECONSTRUCTION_DB = 20.0
# Two renderings from the same noise that are this near look the same.
SAME_PICTURE_DB = 35.0


class Imagic:
    """The method `imagic`, see the head of this file."""

    name: ClassVar[str] = "imagic"
    paper: ClassVar[str] = "Kawar et al., Imagic: Text-Based Real Image Editing with Diffusion Models, CVPR 2023"
    needs: ClassVar[frozenset[Ability]] = frozenset(
        {Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION}
    )
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = options_of.FitOptions
    EditOptions: ClassVar[type] = options_of.EditOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = options_of.PRESETS

    def fit(
        self, backbone: Backbone, request: FitRequest, options: options_of.FitOptions
    ) -> Generator[Progress, None, State]:
        """Stages A and B, and the inversion. With a source text, that one is fitted, and the state serves any target.

        Afterwards, whatever happens, the backbone has its original weights; until this generator has ended or is
        closed, the backbone belongs to it. Raises AbilityError, TextError for an empty target, OptionError on
        divergence.
        """
        common.check_fit(self, backbone, request)
        z0 = backbone.encode(request.image).detach()
        target = backbone.encode_text([request.target_text])
        start = backbone.encode_text([request.source_text]) if request.source_text else target
        fixed = fixed_pairs(options.measured_pairs, backbone.levels, z0.shape[1:]).to(z0.device)
        subject = Subject(z0, fixed, request.seed, options.max_pairs, request.checkpoint)
        if options.joint:
            fitted, change, network_curve = yield from fit_jointly(backbone, subject, start, options)
            embedding_curve = network_curve[:1]
        else:
            fitted, embedding_curve = yield from fit_embedding(backbone, subject, start, options)
            change, network_curve = yield from fit_network(backbone, subject, fitted, options)
        upper, upper_curve = yield from fit_upper(backbone, request, start, options)
        tensors = {"z0": z0.cpu(), **pack_conditioning("e_tgt", target), **pack_conditioning("e_opt", fitted)}
        if request.source_text:
            tensors |= pack_conditioning("e_src", start)
        if change is not None:
            change = stored(change)
            tensors |= pack_change("change", change)
        if options.start == "inversion":
            noise = yield from own_noise(backbone, z0, fitted, change, options.inversion_steps)
            tensors["start"] = noise.cpu()
        if upper is not None:
            upper = stored(upper)
            tensors |= pack_change("upper", upper)
        facts = {
            **common.facts(backbone, request, options),
            "learnable": sorted(target.learnable),
            "change": _described(change),
            "upper": _described(upper),
            "moved": _moved(start, fitted),
            "losses": _losses(embedding_curve, network_curve, upper_curve),
        }
        return State(self.name, tensors, facts)

    def edit(
        self, backbone: Backbone, state: State, options: options_of.EditOptions, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        """Stage C, for each seed at the asked strengths, or at the one found for it.

        The result's sweep holds the candidates of automatic eta with their scores and, last, the rendering at eta 0 in
        full steps. Raises StateError when the state is another model's, OptionError for unusable options.
        """
        common.check_edit(self, backbone, state, seeds)
        fitted = Fitted.unpack(backbone, state, options.target_text)
        options = options.settled(with_source=fitted.source is not None)
        if options.local_blend and fitted.start is not None:
            fitted = replace(fitted, touched=touched_by_text(backbone, fitted, options))
        round_trip = backbone.decode(fitted.z0)[0].cpu()
        warnings = _hardly_moved(fitted)
        sweep: list[Candidate] = []
        automatic = options.eta is None and not options.etas
        agreement = agreement_with(backbone, fitted, options) if automatic else None
        if agreement is not None:
            found = yield from search(backbone, fitted, round_trip, list(dict.fromkeys(seeds)), options, agreement)
            sweep += found.sweep
            warnings += [warning for choice in found.choices for warning in choice.warnings]
            chosen = {shot.seed: shot for shot in found.shots}
            shots = [chosen[seed] for seed in seeds]
        else:
            etas = options.etas or (options.eta,)
            shots = [Shot(float(eta), seed) for seed in seeds for eta in etas if eta is not None]
        # The reference shares its noise with the results: what differs from it is the edit and little else.
        reference_shot = Shot(0.0, seeds[0])
        all_shots = list(dict.fromkeys([*shots, reference_shot]))
        z = yield from render(
            backbone, fitted, all_shots, options, num_steps=options.num_steps, sampler=options.sampler, stage="render"
        )
        scored = yield from score(backbone, fitted, round_trip, all_shots, z, agreement, stage="score")
        warnings += _far_from_input(scored[all_shots.index(reference_shot)])
        warnings += _same_at_both_ends(sweep) + _same_at_both_ends(scored)
        # A cascade paints what was rendered, and what it is compared with.
        rendered = dict(
            zip(all_shots, (yield from with_details(backbone, state, fitted.target, scored, z)), strict=True)
        )
        reference = rendered[reference_shot]
        compared = reference
        if options.reference == "round-trip":
            own = [Candidate(round_trip, 0.0, seeds[0])]
            [compared] = yield from with_details(backbone, state, fitted.target, own, fitted.z0)
        return EditResult(
            chosen=[rendered[shot] for shot in shots],
            reconstruction=compared.image,
            sweep=[*sweep, reference],
            warnings=list(dict.fromkeys(warnings)),
        )


def _moved(start: Conditioning, end: Conditioning) -> float:
    """norm(end - start) / norm(start) over all learnable tensors."""
    before, after = start.parameters(), end.parameters()
    difference = torch.cat([(after[name] - before[name]).flatten() for name in before])
    whole = torch.cat([tensor.flatten() for tensor in before.values()])
    return float(difference.norm() / whole.norm())


def _described(change: WeightChange | None) -> dict[str, Any] | None:
    """What a state's facts say of a change beside its tensors."""
    return None if change is None else {"kind": change.kind, "facts": dict(change.facts)}


def _losses(embedding: Curve, network: Curve, upper: Curve) -> dict[str, Any]:
    return {
        "before": embedding[0][1],
        "after_embedding": embedding[-1][1],
        "after_network": network[-1][1],
        "embedding": [list(point) for point in embedding],
        "network": [list(point) for point in network],
        "upper": [list(point) for point in upper],
    }


def _hardly_moved(fitted: Fitted) -> list[str]:
    if fitted.moved is None or fitted.moved >= LEAST_MOVE:
        return []
    return [
        f"The embedding hardly moved from the target text ({fitted.moved:.2f} of its norm), so there may be nothing to "
        "choose between the input and the edit: fit with more embedding steps."
    ]


def _far_from_input(reference: Candidate) -> list[str]:
    if reference.scores["psnr"] >= LEAST_RECONSTRUCTION_DB:
        return []
    return [
        f"At eta 0 the picture is only {reference.scores['psnr']:.0f} dB near to the input (as the model's autoencoder "
        "gives it back), so an edit may lose its details: fit with more network steps."
    ]


def _same_at_both_ends(candidates: Sequence[Candidate]) -> list[str]:
    """candidates: rendered with the same steps."""
    starts = {candidate.seed: candidate.image for candidate in candidates if candidate.strength == 0}
    for candidate in candidates:
        start = starts.get(candidate.seed)
        if candidate.strength == 1 and start is not None and psnr(candidate.image, start) > SAME_PICTURE_DB:
            return [
                "Even at eta 1 the picture is that of eta 0, so no strength edits it: fit with more embedding steps or "
                "fewer network steps, or word the text differently."
            ]
    return []
