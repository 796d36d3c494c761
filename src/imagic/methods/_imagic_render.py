"""Stage C of Imagic: a mixed embedding and the tuned network, sampled from the input's own noise or from fresh noise.

Beside the paper's interpolation stand two published relatives: Forgedit's projection, which adds to the fitted text
only what the target has beyond it, and DAC's fading adapter, which lets the original network lay out the picture at
high noise. Prompt-to-Prompt's attention control, with which Imagic's authors hope to cure drift, binds a result to the
rendering at eta 0.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.difference_first import difference_first
from imagic.core.errors import OptionError, StateError
from imagic.core.sampling import sample
from imagic.core.seeds import initial_noise
from imagic.core.state import unpack_change, unpack_conditioning
from imagic.core.text_mask import MaskOptions, mask_noise, text_difference
from imagic.core.types import Backbone, Denoiser, Progress, State, WeightChange
from imagic.core.words_first import before_padding, words_first
from imagic.methods._attention_control import Sharing, SharingDenoiser
from imagic.methods._imagic_options import EditOptions

# How the map of local blend is made: as DiffEdit's.
MAP = MaskOptions()


@dataclass(frozen=True)
class Shot:
    """One picture to render."""

    eta: float
    seed: int


@dataclass(frozen=True)
class Fitted:
    """What a state holds, on the backbone's device; one row each.

    fitted: e_opt, target: e_tgt, null: the empty text. target_text: what e_tgt says. moved: how far e_opt went from
    e_tgt, in units of e_tgt's norm; None where it began at a source text. source: e_src, that text; else None.
    start: the input's own noise, (1, C, h, w); None where results begin with their seed's. touched: where the text has
    a say, (1, 1, h, w); None for everywhere.
    words: positions before the padding of both texts; None where the model does not tell, or results begin with their
    seed's noise, where the whole text goes as one.
    """

    z0: Tensor
    fitted: Conditioning
    target: Conditioning
    null: Conditioning
    change: WeightChange | None
    moved: float | None
    target_text: str
    source: Conditioning | None = None
    start: Tensor | None = None
    touched: Tensor | None = None
    words: int | None = None

    @staticmethod
    def unpack(backbone: Backbone, state: State, target_text: str) -> Fitted:
        """target_text: another target, for a state with a source text; empty for the one it was fitted with.

        Raises OptionError for another target where the state has no source text, StateError for a damaged state.
        """
        facts, device = state.facts, backbone.device
        try:
            source_text, own_text, moved = str(facts["source_text"]), str(facts["target_text"]), float(facts["moved"])
            z0, described = state.tensors["z0"], facts["change"]
            target = unpack_conditioning(state, "e_tgt", facts["learnable"])
            fitted = unpack_conditioning(state, "e_opt", facts["learnable"])
            source = unpack_conditioning(state, "e_src", facts["learnable"]).to(device) if source_text else None
            change = unpack_change(state, "change", described["kind"], described["facts"]) if described else None
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"The state is damaged ({error} is missing or wrong): fit again.") from error
        if target_text and target_text != own_text:
            if not source_text:
                raise OptionError(
                    "This state is bound to its target text: fit with a source text to edit towards others."
                )
            target = backbone.encode_text([target_text])
        return Fitted(
            z0=z0.to(device),
            fitted=fitted.to(device),
            target=target.to(device),
            null=backbone.encode_text([""]).to(device),
            change=change,
            moved=None if source_text else moved,
            target_text=target_text or own_text,
            source=source,
            start=state.tensors["start"].to(device) if "start" in state.tensors else None,
            words=before_padding(backbone, (source_text or own_text, target_text or own_text))
            if "start" in state.tensors
            else None,
        )

    @property
    def reference(self) -> Conditioning:
        """What the target is compared with: the source text, which tells best what is asked to change, or no text."""
        return self.null if self.source is None else self.source

    def starts(self, seeds: Sequence[int], fresh: float) -> Tensor:
        """What results of these seeds are sampled from, (B, C, h, w). fresh: share of the seed's noise."""
        noise = initial_noise(self.z0.shape[1:], seeds, self.z0.device)
        return noise if self.start is None else (1 - fresh) ** 0.5 * self.start + fresh**0.5 * noise

    def mixed(self, etas: Sequence[float], options: EditOptions) -> Conditioning:
        """One row per eta, by settled options. But for projections eta 0 is exactly e_opt, and eta 1 exactly e_tgt."""
        if options.mixing == "projection":
            push = options.push * torch.tensor(etas, dtype=torch.float64)
            return project(self.fitted, self.target, options.identity, push)
        if options.mixing == "difference" and self.source is not None:
            return difference_first(self.fitted, self.source, self.target, etas, self.words, options.words_lead)
        return words_first(self.fitted, self.target, etas, self.words, options.words_lead)


def project(source: Conditioning, target: Conditioning, identity: float, push: Tensor) -> Conditioning:
    """Forgedit's e = alpha e_src + beta e_edit, with e_edit = e_tgt - (e_tgt . u) u and u = e_src / |e_src|, per token.

    source, target: one row; identity: alpha; push: beta, (B,). Returns B rows.
    """
    source, target = source.matched(target, len(push))
    mixed = dict(target.tensors)
    for name in target.learnable:
        src, tgt = source.tensors[name], target.tensors[name]
        unit = F.normalize(src, dim=-1)
        edit = tgt - (tgt * unit).sum(-1, keepdim=True) * unit
        mixed[name] = identity * src + push.to(src).reshape(-1, *[1] * (src.dim() - 1)) * edit
    return replace(target, tensors=mixed)


class FadingDenoiser:
    """The network with its change at the weight w(t) = (1 - a) ((t - T) / T)^2 + a: a at the noisiest level T, 1 at the
    cleanest (DAC's t-dependent adapter weight; there T = 999)."""

    def __init__(self, backbone: Backbone, change: WeightChange, floor: float) -> None:
        self.prediction = backbone.prediction
        self._backbone, self._change, self._floor = backbone, change, floor
        self._last = float(backbone.levels.timestep.max())

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """As Denoiser.predict, with one timestep for all rows."""
        away = (float(timestep[0]) - self._last) / self._last
        weight = (1 - self._floor) * away**2 + self._floor
        with self._backbone.changed(self._change, weight):
            return self._backbone.predict(z, timestep, conditioning)


@contextmanager
def tuned(backbone: Backbone, change: WeightChange | None, floor: float | None) -> Iterator[Denoiser]:
    """The network as stage B left it, fading towards high noise where a floor is given."""
    if change is None or floor is None:
        with backbone.changed(change):
            yield backbone
    else:
        yield FadingDenoiser(backbone, change, floor)


def render(
    backbone: Backbone,
    fitted: Fitted,
    shots: Sequence[Shot],
    options: EditOptions,
    *,
    num_steps: int,
    sampler: str,
    stage: str,
) -> Generator[Progress, None, Tensor]:
    """The latents of all shots, (N, C, h, w), in batches; shots of one seed start from the same latent, and those
    of one strength that start alike are drawn once.

    Under attention control each batch has its seeds' renderings at eta 0 in it, and the others take their maps.
    """
    schedule = backbone.schedule(num_steps)
    steps = len(schedule) - 1
    if fitted.start is not None and options.fresh_noise == 0:
        shots = [replace(shot, seed=shots[0].seed) for shot in shots]
    different = list(dict.fromkeys(shots))
    # Room for one rendering at eta 0 beside each shot.
    size = max(1, options.max_batch // 2) if options.attention_control else options.max_batch
    done: list[Tensor] = []
    total = steps * -(-len(different) // size)
    with tuned(backbone, fitted.change, options.adapter_floor) as denoiser:
        for start in range(0, len(different), size):
            batch = rows = different[start : start + size]
            network: Denoiser = denoiser
            if options.attention_control:
                rows, giver = _with_givers(batch)
                sharing = Sharing(giver, options.cross_steps, options.self_steps)
                network = SharingDenoiser(backbone, denoiser, schedule, sharing)
            z = fitted.starts([shot.seed for shot in rows], options.fresh_noise)
            loop = sample(
                network,
                z,
                schedule,
                fitted.mixed([shot.eta for shot in rows], options),
                fitted.null,
                [options.guidance(shot.eta) for shot in rows],
                sampler,
                stage=stage,
            )
            for progress in loop:
                z = progress.z
                yield replace(progress, step=len(done) * steps + progress.step, total=total)
            done.append(z[: len(batch)])
    result = torch.cat(done)[[different.index(shot) for shot in shots]]
    return result if fitted.touched is None else torch.lerp(fitted.z0, result, fitted.touched)


def touched_by_text(backbone: Backbone, fitted: Fitted, options: EditOptions) -> Tensor:
    """Where the target text has a say in this picture, (1, 1, h, w): 1 inside, 0 outside, between them on the rim.

    What the text says nothing about (the sky over a sitting dog) is lost with the rest of e_opt as eta nears 1; nothing
    asks for that. As in DiffEdit (core.text_mask), the untuned model's estimates under the target and under the source
    text, without one the empty text, tell where that is: where they differ by less than `local_blend` of their mean
    difference, and a cell away from the rest. A change of all the picture, of its style, differs everywhere alike and
    so holds nothing back.
    """
    found, texts = [], (fitted.target, fitted.reference, fitted.null)
    with backbone.lower_precision():
        for noise in torch.split(mask_noise(fitted.z0, 0, MAP.mask_noises), options.max_batch):
            found.append(text_difference(backbone, fitted.z0, *texts, noise, MAP))
    differences = torch.cat(found).mean((0, 1), keepdim=True)
    inside = F.max_pool2d(
        (differences > options.local_blend * differences.mean()).to(differences.dtype), 3, stride=1, padding=1
    )
    return F.avg_pool2d(inside, 3, stride=1, padding=1, count_include_pad=False)


def _with_givers(batch: Sequence[Shot]) -> tuple[list[Shot], list[int]]:
    """The batch, after it the renderings at eta 0 that it lacks, and for each the row of its seed's at eta 0."""
    rows = list(dict.fromkeys([*batch, *(Shot(0.0, shot.seed) for shot in batch)]))
    return rows, [rows.index(Shot(0.0, shot.seed)) for shot in rows]
