"""The three contracts: what a model family, an editing method and a metric are to the rest.

M methods and N families cost M + N because each side sees only this file. A family hides VAE scale and shift, latent
packing, timestep units, pooled text and size ids; a method hides its paper; a metric hides its weights.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from imagic.core.checkpoint import Checkpoint
from imagic.core.conditioning import Conditioning
from imagic.core.errors import AbilityError
from imagic.core.noise import NoiseLevels, Prediction


class Ability(StrEnum):
    """What a family can do and a method can ask for; checked before any work, and printed as the README's matrix."""

    TEXT_GRADIENT = "text-gradient"  # gradients flow back into the text conditioning
    FINE_TUNING = "fine-tuning"  # the denoiser's weights can be tuned and restored
    GUIDANCE = "guidance"  # an empty text gives an unconditional prediction
    INVERSION = "inversion"  # a deterministic path from image to noise exists
    CROSS_ATTENTION = "cross-attention"  # text tokens have attention maps over the image, seen through `attention`
    CASCADE = "cascade"  # upper stages raise the resolution
    INSTRUCTION = "instruction"  # trained on (image, instruction) pairs


@dataclass(frozen=True)
class TextReport:
    """What the model will make of a text: the words it does not know, and the end that it will not see."""

    unknown_words: tuple[str, ...] = ()
    cut: str = ""


@dataclass(frozen=True)
class Token:
    """What stands at one position of a text's conditioning. piece: as the vocabulary has it, equal for equal meanings.
    start, end: its characters in the text; none (start == end) for the marks around the text and for padding."""

    piece: str
    start: int
    end: int


@dataclass(frozen=True)
class AttentionLayer:
    """One attention layer of a denoiser. name: unique in the network. cross: from the image to the text's tokens, else
    from the image to itself. size: (height, width) of the grid that its queries, row by row, lie on."""

    name: str
    cross: bool
    size: tuple[int, int]


class AttentionControl(Protocol):
    """What watches or changes attention maps while the network runs, see `Backbone.attention`."""

    def wants(self, layer: AttentionLayer) -> bool:
        """Whether to be called for this layer now; the maps of the others are never even computed."""

    def __call__(self, layer: AttentionLayer, maps: Tensor) -> Tensor:
        """The maps to use instead. maps: (rows, heads, queries, keys), float32, each row over the keys sums to 1; rows
        as in the call of `predict`; keys are the positions of the text, or the grid of the queries again."""


@dataclass(frozen=True)
class WeightChange:
    """What an edit did to a network: a full difference or a LoRA.

    kind: "full" (name -> new weight minus old weight) or "lora" (peft's names -> factors).
    facts: what is needed to apply it again (rank, alpha, target modules); plain JSON values.
    """

    kind: str
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TuningPlan:
    """Which weights to tune.

    kind: "full" or "lora"; rank, alpha: LoRA only; parts: substrings of parameter (full) or module (lora) names to
    tune, empty for all (full) or for the attention projections (lora). seed: draws a LoRA's random half.
    """

    kind: str = "full"
    rank: int = 16
    alpha: float = 16.0
    parts: tuple[str, ...] = ()
    seed: int = 0


class Tuning(Protocol):
    """Weights under tuning. `parameters` are float32 masters that require gradients."""

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]: ...

    def change(self) -> WeightChange:
        """The difference to the original weights so far, detached, on the CPU."""


class Denoiser(Protocol):
    """The network alone: all that sampling and inversion see of a backbone. A method may wrap one (say, to make an
    adapter's weight depend on the timestep)."""

    prediction: Prediction

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """The raw output for z (B, C, h, w) at `timestep` (B,) of `levels.timestep`; float32. Gradients flow."""


@runtime_checkable
class Backbone(Denoiser, Protocol):
    """One family of text-to-image models, loaded. Tensors live on `device`; latents z are float32, (B, C, h, w)."""

    name: str  # what the user asked for
    fingerprint: str  # hash over all weights and configs: a state is only valid for the model that made it
    abilities: frozenset[Ability]
    levels: NoiseLevels  # the training levels, clean to noisy
    image_size: int  # native side in pixels
    size_multiple: int  # heights and widths must be multiples of this
    device: torch.device
    dtype: torch.dtype

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [-1, 1] to the latent mean, scaled as the model was trained (never a sample)."""

    def decode(self, z: Tensor) -> Tensor:
        """Latent to image (B, 3, H, W) in [-1, 1] (clamped)."""

    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        """One row per text; "" is the unconditional text. No gradient."""

    def report_text(self, text: str) -> TextReport: ...

    def schedule(self, num_steps: int) -> NoiseLevels:
        """The sampling grid of the checkpoint's own scheduler: num_steps levels, noisy to clean, and the final clean
        level after them (length num_steps + 1; the last timestep is never evaluated)."""

    def tuning(self, plan: TuningPlan) -> AbstractContextManager[Tuning]:
        """Within: the denoiser's chosen weights require gradients and may be stepped. After, whatever happens: the
        original weights, bit for bit, nothing requires gradients."""

    def changed(self, change: WeightChange | None, scale: float = 1.0) -> AbstractContextManager[None]:
        """Within: the denoiser with `scale` times the change applied. After: the original weights, bit for bit."""

    def lower_precision(self) -> AbstractContextManager[None]:
        """Within: `predict` may multiply in a lower precision, which the loss of a fit and the search for a strength
        can bear, and the steps of sampling and inversion cannot. After: as before."""
        return nullcontext()

    def recomputing(self) -> AbstractContextManager[None]:
        """Within: gradients through `predict` are the same for less memory and more time (gradient checkpointing).
        After: as before."""
        return nullcontext()

    def tokens(self, text: str) -> Sequence[Token]:
        """What stands at each position of `encode_text([text])`, and so at each key of cross-attention: a mark, the
        text, a mark, padding. Belongs to Ability.CROSS_ATTENTION; without it, AbilityError."""
        raise AbilityError(f"The model '{self.name}' does not tell its tokens: choose another method or model.")

    def attention(self, control: AttentionControl) -> AbstractContextManager[None]:
        """Within: `predict` lets `control` change the attention maps. After: the network as before. One inside another
        takes the outer one's place. Belongs to Ability.CROSS_ATTENTION; without it, AbilityError."""
        raise AbilityError(f"The model '{self.name}' does not show its attention: choose another method or model.")

    def with_image(self, conditioning: Conditioning, z0: Tensor, *, blank: bool = False) -> Conditioning:
        """The bundle of an instruction (B rows) together with the picture that it is about, for `predict`.

        z0: (1, C, h, w) or B rows, clean, as `encode` gives it. blank: a picture of that size that says nothing, as in
        the training of such a model. Belongs to Ability.INSTRUCTION; without it, AbilityError."""
        raise AbilityError(f"The model '{self.name}' follows no instructions: choose another method or model.")

    def upper_stages(self) -> Sequence[UpperStage]:
        """A cascade's super-resolution stages, from small to large; empty for the others. Where there are some
        (Ability.CASCADE), `decode` only enlarges, and core.cascade paints."""

    def pipeline_inputs(self, conditioning: Conditioning) -> Mapping[str, Tensor]:
        """The bundle as arguments, by name, of the family's own pipeline of diffusers. Without one, AbilityError."""
        raise AbilityError(f"The model '{self.name}' has no pipeline that takes its texts as tensors.")

    def exported(self, change: WeightChange, form: str) -> Mapping[str, Tensor]:
        """The change as a file for other programs has it: tensors by name. form: "diffusers" or "kohya". AbilityError
        for a form that the family does not have."""
        raise AbilityError(f"A change of the model '{self.name}' cannot be written for other programs.")

    def save_network(self, folder: Path) -> None:
        """Write the denoiser, with what `changed` applies now, as a folder of its name in a diffusers pipeline (`unet`,
        `transformer`) within this one."""
        raise AbilityError(f"The network of the model '{self.name}' cannot be written for other programs.")


@runtime_checkable
class UpperStage(Backbone, Protocol):
    """A super-resolution stage of a cascade. Its latents are its pixels; its network also sees the picture of the stage
    below, which stands in the bundle. A text's bundle is that of the cascade's base."""

    scale: int  # its side in units of the side of the stage below
    num_steps: int  # of sampling, as the family's pipeline has it
    guidance_scale: float  # likewise

    def beside(self, conditioning: Conditioning, smaller: Tensor, noise: Tensor) -> Conditioning:
        """The bundle (B rows) of a text together with the picture to enlarge, for `predict`.

        smaller: (B, 3, h, w) in [-1, 1]; noise: (B, 3, scale h, scale w), standard normal, of which the enlarged
        picture gets as much as in the pipeline."""


@dataclass(frozen=True)
class Progress:
    """One step of a long computation. preview: an image (3, H, W) in [-1, 1] where one is cheap. seconds_left: of this
    stage, by the pace so far; filled in by who runs the computation."""

    stage: str
    step: int
    total: int
    values: Mapping[str, float] = field(default_factory=dict)
    preview: Tensor | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class State:
    """What `fit` learned: tensors and facts, nothing hidden. core.state saves it as one safetensors file.

    method: the method's name. tensors: contiguous. facts: plain JSON values (model name and fingerprint, texts,
    options, seeds, versions, losses).
    """

    method: str
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        # Kernels round by the order in memory: a fresh state has the order, and so the pixels, of one that was saved.
        object.__setattr__(self, "tensors", {name: tensor.contiguous() for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class FitRequest:
    """image: (1, 3, H, W) in [-1, 1] at the model's resolution. Texts a method does not use stay empty. checkpoint:
    where a long fit keeps how far it is; by default nowhere."""

    image: Tensor
    target_text: str
    source_text: str = ""
    instruction: str = ""
    mask: Tensor | None = None  # (1, 1, H, W) in [0, 1], 1 = edit
    seed: int = 0
    checkpoint: Checkpoint = field(default_factory=Checkpoint, compare=False)


@dataclass(frozen=True)
class Candidate:
    """One output image with the strength and seed that made it, and what was measured on the way."""

    image: Tensor  # (3, H, W) in [-1, 1]
    strength: float
    seed: int
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EditResult:
    """chosen: the results, one per asked (seed, strength). sweep: everything looked at while choosing a strength.
    reconstruction: (3, H, W), the model's own rendering of the input, against which a full-size result is laid over the
    original. warnings: plain sentences. mask: (N, 1, h, w) in [0, 1], 1 = edited, as it was used on the latent grid:
    one per asked seed, or one for all."""

    chosen: Sequence[Candidate]
    reconstruction: Tensor
    sweep: Sequence[Candidate] = ()
    warnings: Sequence[str] = ()
    mask: Tensor | None = None


class Method(Protocol):
    """One paper. `fit` is expensive and runs once per image and text; `edit` is cheap and runs many times.

    Both are generators that yield Progress and return their result. Nothing is kept on the method between calls.
    texts: the fields of FitRequest that must not be empty.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[frozenset[Ability]]
    texts: ClassVar[tuple[str, ...]]
    FitOptions: ClassVar[type]  # frozen dataclasses made of core.options.option fields
    EditOptions: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]  # name -> values of FitOptions

    def fit(self, backbone: Backbone, request: FitRequest, options: Any) -> Generator[Progress, None, State]: ...

    def edit(
        self, backbone: Backbone, state: State, options: Any, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]: ...


@dataclass(frozen=True)
class Sample:
    """One edited image and what it may be compared with. Images: (3, H, W) in [-1, 1]; region: (1, H, W) in [0, 1]."""

    image: Tensor
    input: Tensor
    target_text: str
    source_text: str = ""
    truth: Tensor | None = None
    region: Tensor | None = None


class Metric(Protocol):
    """One number per sample. Missing weights raise NotAvailable with the reason; a value is never made up."""

    name: ClassVar[str]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def __call__(self, sample: Sample) -> float: ...


@dataclass(frozen=True)
class Features:
    """A set of images as one extractor sees them. values: (N, D), float64, a row per image; groups: the class of each
    image, or empty where the set has no classes."""

    values: Tensor
    groups: Sequence[str] = ()


class Extractor(Protocol):
    """Turns images into the feature vectors by which sets are compared. Missing weights raise NotAvailable."""

    name: ClassVar[str]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to features (B, D), on the images' device."""


class SetMetric(Protocol):
    """One number for a set of images against a set of references, from the features of both by the same extractor."""

    name: ClassVar[str]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def __call__(self, images: Features, references: Features) -> float: ...
