"""What stands around every method's own loop: checks, the facts of a state and their reading, strengths, the result.

A method's file is left with its paper's equations.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from torch import Tensor

from imagic.core.cascade import paint
from imagic.core.conditioning import Conditioning
from imagic.core.errors import OptionError, StateError, TextError
from imagic.core.noise import NoiseLevels, add_noise
from imagic.core.options import build_options, option
from imagic.core.registry import check_abilities
from imagic.core.sampling import LatentProgress
from imagic.core.seeds import initial_noise
from imagic.core.state import check_state
from imagic.core.types import Backbone, Candidate, EditResult, FitRequest, Method, Progress, State

TEXTS = {
    "target_text": "a target text: describe the edited picture, such as 'a sitting dog'",
    "source_text": "a source text: describe the picture as it is (source_text, or --source)",
    "instruction": "an instruction: say what to do, such as 'make the dog sit'",
}

# (strength, seeds) -> latents (len(seeds), C, h, w), or one row where the seeds make no difference.
Render: TypeAlias = Callable[[float, Sequence[int]], Generator[LatentProgress, None, Tensor]]


def check_fit(method: Method, backbone: Backbone, request: FitRequest) -> None:
    """Before any work: AbilityError where the model lacks what the method needs, TextError where a text is missing."""
    check_abilities(method, backbone)
    for name in method.texts:
        if not getattr(request, name).strip():
            raise TextError(f"The method '{method.name}' needs {TEXTS[name]}.")


def fit_by_encoding(
    method: Method, backbone: Backbone, request: FitRequest, options: Any
) -> Generator[Progress, None, State]:
    """The fit of a method that learns nothing: the input's latent. Raises as `check_fit`."""
    check_fit(method, backbone, request)
    z0 = backbone.encode(request.image)
    yield Progress("encode", 1, 1)
    return State(method.name, {"z0": z0.cpu()}, facts(backbone, request, options))


def check_edit(method: Method, backbone: Backbone, state: State, seeds: Sequence[int]) -> None:
    """Raises StateError for a state of another method or model, OptionError without a seed."""
    check_state(state, method.name, backbone)
    if not seeds:
        raise OptionError("An edit needs at least one seed.")


def facts(backbone: Backbone, request: FitRequest, options: Any) -> dict[str, Any]:
    """The facts that every state carries. options: an instance of the method's FitOptions."""
    return {
        "model": backbone.name,
        "fingerprint": backbone.fingerprint,
        "target_text": request.target_text,
        "source_text": request.source_text,
        "options": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(options).items()},
        "seed": request.seed,
        "versions": {package: _version(package) for package in ("imagic", "torch", "diffusers")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout, or a build without that part
        return "unknown"


@dataclass(frozen=True)
class Inputs:
    """What a state says of its input, on the backbone's device; one row each.

    z0: (1, C, h, w), clean. source: of the empty text where the fit had none. null: the empty text. fit_options: an
    instance of the method's FitOptions.
    """

    z0: Tensor
    target: Conditioning
    source: Conditioning
    null: Conditioning
    fit_options: Any

    @staticmethod
    def unpack(method: Method, backbone: Backbone, state: State, target_text: str = "") -> Inputs:
        """From the tensor `z0` and the facts of a state. target_text: another target; empty for that of the fit.

        Raises StateError for a damaged state.
        """
        try:
            z0, own, source = state.tensors["z0"], str(state.facts["target_text"]), str(state.facts["source_text"])
            fit_options: Any = build_options(method.FitOptions, state.facts["options"])
        except (KeyError, TypeError, OptionError) as error:
            raise StateError(f"The state is damaged ({error} is missing or wrong): fit again.") from error
        # Each text alone, so that equal texts give equal bits.
        target_row, source_row, null_row = (
            backbone.encode_text([text]).to(backbone.device) for text in (target_text or own, source, "")
        )
        return Inputs(z0.to(backbone.device), target_row, source_row, null_row, fit_options)


@dataclass(frozen=True)
class StrengthOptions:
    """The edit options of a method whose strength is the share of the schedule that it goes through."""

    strength: float = option(
        0.8,
        "How much is made anew: the last int(strength * num_steps) steps; 0 gives the input back, 1 uses all.",
        minimum=0.0,
        maximum=1.0,
    )
    strengths: tuple[float, ...] = option((), "Several strengths, each rendered for each seed; instead of strength.")

    def __post_init__(self) -> None:
        check_strengths("strengths", self.strengths, 1)

    @property
    def asked(self) -> tuple[float, ...]:
        """The strengths to render, each once."""
        return tuple(dict.fromkeys(self.strengths or (self.strength,)))


def check_strengths(name: str, values: Sequence[float], highest: int) -> None:
    """Raises OptionError unless each value of the option `name` is a number from 0 to `highest`."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= highest:
            raise OptionError(f"Each of {name} must be a number between 0 and {highest}, not {value!r}.")


def part_of(schedule: NoiseLevels, strength: float) -> NoiseLevels:
    """The last K = min(int(N strength), N) of N steps, as K + 1 levels; at K = 0 the clean level alone."""
    total = len(schedule) - 1
    return schedule[total - min(int(total * strength), total) :]


def noised(z0: Tensor, part: NoiseLevels, noise: Tensor) -> Tensor:
    """alpha z0 + sigma noise at the first level of `part`, (B, C, h, w); z0 itself where no step is left.

    z0: (1, C, h, w); noise: (B, C, h, w). The last level of a checkpoint may still be a little noisy, hence the case.
    """
    z0 = z0.expand_as(noise)
    return add_noise(z0, noise, part.alpha[0], part.sigma[0]) if len(part) > 1 else z0


def noise_for(z0: Tensor, seeds: Sequence[int]) -> Tensor:
    """One noise per seed in the shape of z0 (1, C, h, w), on its device: (B, C, h, w)."""
    return initial_noise(z0.shape[1:], seeds, z0.device)


def render_each(
    backbone: Backbone,
    z0: Tensor,
    render: Render,
    strengths: Sequence[float],
    seeds: Sequence[int],
    max_batch: int,
    *,
    text: Conditioning,
    stage: str = "render",
) -> Generator[Progress, None, EditResult]:
    """One candidate per (seed, strength), ordered by seed and then as the strengths are.

    Of `render`'s latents each is decoded alone; the reconstruction is the autoencoder's of z0 (1, C, h, w). With
    several strengths each is a stage of its own. max_batch: most seeds at once. text: one row, under which a cascade
    paints the results, and for comparison the input from the first seed's noise.
    """
    latents: dict[tuple[int, float], Tensor] = {}
    for strength in strengths:
        label = f"{stage} at {strength:g}" if len(strengths) > 1 else stage
        batches = [seeds[start : start + max_batch] for start in range(0, len(seeds), max_batch)]
        for index, batch in enumerate(batches):
            z = yield from _relabelled(render(strength, batch), label, index, len(batches))
            for seed, row in zip(batch, z.expand(len(batch), *z0.shape[1:]), strict=True):
                latents[seed, strength] = row
    reconstruction = yield from paint(backbone, z0, text, seeds[0])
    chosen = []
    for seed in seeds:
        for strength in strengths:
            image = yield from paint(backbone, latents[seed, strength][None], text, seed)
            chosen.append(Candidate(image[0].cpu(), strength, seed))
    return EditResult(chosen=chosen, reconstruction=reconstruction[0].cpu())


def _relabelled(
    loop: Generator[LatentProgress, None, Tensor], stage: str, index: int, count: int
) -> Generator[Progress, None, Tensor]:
    """Batch `index` of `count` equal ones, with its steps counted over all of them."""
    try:
        while True:
            progress = next(loop)
            yield replace(
                progress, stage=stage, step=index * progress.total + progress.step, total=count * progress.total
            )
    except StopIteration as finished:
        result: Tensor = finished.value
        return result
    finally:
        loop.close()
