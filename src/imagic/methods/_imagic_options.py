"""The options of Imagic: what the paper fixes, what it leaves open, and its published relatives as choices.

Learning rates are given for Stable Diffusion 1 and carried over to other models by the rules in `_imagic_fit`, so that
one preset means the same thing everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from imagic.core.encoder import BUNDLED
from imagic.core.errors import OptionError
from imagic.core.options import option
from imagic.core.words_first import WORDS_LEAD
from imagic.methods._common import check_strengths

# Chosen on edits of the menagerie, see docs/LOG.md.
GUIDANCE = 3.0
DIFFERENCE_GUIDANCE = 5.0


@dataclass(frozen=True)
class EmbeddingOptions:
    """How a text's embedding is fitted to one image (stage A)."""

    embedding_steps: int = option(
        20, "Stage A: Adam steps on the text embedding; few keep it near the target.", minimum=0, maximum=100_000
    )
    embedding_lr: float = option(
        5e-2, "Stage A: learning rate for an embedding of RMS 1 (that of SD 1).", minimum=0.0, maximum=1.0
    )
    embedding_pairs: int = option(8, "Stage A: stratified (t, noise) pairs per step.", minimum=1, maximum=1024)


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is tuned to one image (stage B)."""

    network_steps: int = option(
        100, "Tuning the network: Adam steps; 0 leaves it as it is.", minimum=0, maximum=100_000
    )
    network_lr: float = option(
        4e-5, "Full tuning: learning rate for a network of the size of SD 1's.", minimum=0.0, maximum=1.0
    )
    network_pairs: int = option(4, "Tuning the network: stratified (t, noise) pairs per step.", minimum=1, maximum=1024)
    tuning: str = option("full", "Tune the network's weights themselves, or a LoRA.", choices=("full", "lora"))
    lora_lr: float = option(4e-4, "LoRA: learning rate, the same for any model.", minimum=0.0, maximum=1.0)
    rank: int = option(16, "LoRA: rank.", minimum=1, maximum=1024)
    alpha: float = option(16.0, "LoRA: scale; the update counts alpha / rank.", minimum=0.0, maximum=4096.0)
    parts: tuple[str, ...] = option(
        (), "Tune only weights whose names contain one of these; empty for all (LoRA: the attention)."
    )
    cooldown: float = option(
        1.0,
        "Share of a stage's steps, the last ones, in which its learning rate falls to zero.",
        minimum=0.0,
        maximum=1.0,
    )
    beta1: float = option(0.9, "Adam: decay of the mean gradient.", minimum=0.0, maximum=0.9999)
    beta2: float = option(0.999, "Adam: decay of the mean squared gradient.", minimum=0.0, maximum=0.999999)
    adam_eps: float = option(1e-8, "Adam: added to the denominator.", minimum=1e-16, maximum=1.0)
    measured_pairs: int = option(16, "Fixed (t, noise) pairs for the loss curves.", minimum=1, maximum=4096)
    max_pairs: int = option(
        1024, "Most pairs in the network at once; lower it when memory runs out.", minimum=1, maximum=4096
    )
    measure_every: int = option(25, "Steps between two points of the loss curves.", minimum=1, maximum=100_000)
    early_stop: float = option(
        0.0,
        "End a stage once its fixed loss falls by less than this share from one point to the next; 0: never.",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass(frozen=True)
class FitOptions(NetworkOptions, EmbeddingOptions):
    """How an image is fitted (stages A and B), and what its edits begin with. The defaults are the `fast` preset."""

    network_steps: int = option(
        15, "Stage B: Adam steps on the network; 0 leaves it as it is.", minimum=0, maximum=100_000
    )
    joint: bool = option(
        False,
        "Stages A and B at once, as in Forgedit: network_steps that move the embedding too, each at its own rate.",
    )
    start: str = option(
        "inversion",
        "What edits are sampled from: the noise in which DDIM inversion of the input ends, which keeps what the text "
        "does not change, or the seed's fresh noise, as in the paper.",
        choices=("inversion", "noise"),
    )
    inversion_steps: int = option(30, "Steps of that inversion.", minimum=1, maximum=1000)
    upper_steps: int = option(
        100,
        "Cascade: Adam steps on the first super-resolution stage, tuned as the network is; 0 leaves it as it is.",
        minimum=0,
        maximum=100_000,
    )


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Few updates of several pairs each, at rates that fall to zero from far above the paper's, for the input's own
        # noise holds what they leave out, see docs/LOG.md.
        "fast": MappingProxyType({}),
        "paper": MappingProxyType(
            {
                "embedding_steps": 1000,
                "embedding_lr": 2e-3,
                "embedding_pairs": 1,
                "network_steps": 1500,
                "network_lr": 5e-7,
                "network_pairs": 1,
                "cooldown": 0.0,
                "start": "noise",
                "upper_steps": 1500,
                "measure_every": 100,
            }
        ),
    }
)


@dataclass(frozen=True)
class EditOptions:
    """How a fitted image is edited (stage C)."""

    eta: float | None = option(
        None,
        "Strength: 0 gives the input back, 1 is the target text alone; automatic when absent.",
        minimum=0.0,
        maximum=2.0,
    )
    etas: tuple[float, ...] = option((), "Several strengths, each rendered for each seed; instead of eta.")
    num_steps: int = option(30, "Sampling steps.", minimum=1, maximum=1000)
    guidance_scale: float | None = option(
        None,
        "Classifier-free guidance; 1 is none. Absent: 5 where the mixing is difference, which keeps more, else 3.",
        minimum=0.0,
        maximum=50.0,
    )
    guidance_at_zero: float = option(
        1.0,
        "Guidance at eta 0, changing evenly to guidance_scale at eta 1: guidance costs closeness to the input.",
        minimum=0.0,
        maximum=50.0,
    )
    fresh_noise: float = option(
        0.0,
        "Share of the seed's fresh noise in the input's own, by variance: at 0 all seeds give one result; 1 is the "
        "paper's start.",
        minimum=0.0,
        maximum=1.0,
    )
    sampler: str = option("ddim", "Sampler of the results.", choices=("ddim", "dpmpp_2m"))
    target_text: str = option("", "Another target; needs a state that was fitted with a source text.")
    words_lead: float = option(
        WORDS_LEAD,
        "How far words run ahead of the padding after them, which says of the input what no word says: they reach the "
        "target at 1 / words_lead; 1: together, as in the paper. Only where the result begins with the input's own "
        "noise, and with models that tell their tokens.",
        minimum=1.0,
        maximum=100.0,
    )
    local_blend: float = option(
        0.4,
        "Keep the input's latent wherever the target text changes the model's estimates by less than this share of the "
        "mean change; 0: nowhere. Only where the result begins with the input's own noise.",
        minimum=0.0,
        maximum=10.0,
    )
    mixing: str = option(
        "automatic",
        "lerp: Imagic's interpolation; difference: first comes what the target says otherwise than the source text, "
        "then what the fit found fades; projection: Forgedit's, which adds only what the target has beyond the fitted "
        "text. Automatic: difference where there is a source text, else lerp.",
        choices=("automatic", "lerp", "difference", "projection"),
    )
    identity: float = option(
        1.0, "Projection: Forgedit's alpha, weight of the fitted text (0.8 to 1.1).", minimum=0.0, maximum=4.0
    )
    push: float = option(
        1.25, "Projection: Forgedit's beta, weight of the edit at eta 1 (1 to 1.5).", minimum=0.0, maximum=4.0
    )
    adapter_floor: float | None = option(
        None,
        "DAC: weight of stage B's change at the noisiest level, 1 at the cleanest (0.7 to 0.8); absent: always 1.",
        minimum=0.0,
        maximum=1.0,
    )
    attention_control: bool = option(
        False, "A result takes, early on, the attention maps of the rendering at eta 0 (Prompt-to-Prompt's control)."
    )
    cross_steps: float = option(
        0.8, "Attention control: the first share of the steps with its cross-attention.", minimum=0.0, maximum=1.0
    )
    self_steps: float = option(
        0.4, "Attention control: the first share of the steps with its self-attention.", minimum=0.0, maximum=1.0
    )
    reference: str = option(
        "eta0",
        "What a result is compared with at full size: the rendering at eta 0, or the autoencoder's round trip.",
        choices=("eta0", "round-trip"),
    )
    candidates: int = option(9, "Automatic eta: strengths from 0 to 1 in the coarse sweep.", minimum=3, maximum=101)
    refine: int = option(2, "Automatic eta: further strengths around the knee; 0: none.", minimum=0, maximum=100)
    search_steps: int = option(8, "Automatic eta: sampling steps of a candidate.", minimum=2, maximum=1000)
    agreement_pairs: int = option(8, "Automatic eta: (t, noise) pairs that score a candidate.", minimum=1, maximum=4096)
    agreement_by: str = option(
        "denoiser",
        "Automatic eta: what measures agreement with the text, the untuned model or a CLIP.",
        choices=("denoiser", "clip"),
    )
    encoder: str = option(
        BUNDLED, "That CLIP: 'menagerie', the one that ships, or a folder of transformers' CLIPModel."
    )
    closeness_weight: float = option(
        1.15,
        "Automatic eta: what distance from the input costs, against agreement with the text.",
        minimum=0.0,
        maximum=100.0,
    )
    max_batch: int = option(16, "Most images sampled at once; lower it when memory runs out.", minimum=1, maximum=4096)

    def __post_init__(self) -> None:
        if self.eta is not None and self.etas:
            raise OptionError("Give either eta or etas, not both.")
        check_strengths("etas", self.etas, 2)

    def settled(self, with_source: bool) -> EditOptions:
        """With what depends on whether the fit has a source text filled in.

        Raises OptionError for a mixture that needs a source text where there is none.
        """
        mixing = self.mixing
        if mixing == "automatic":
            mixing = "difference" if with_source else "lerp"
        if mixing == "difference" and not with_source:
            raise OptionError("mixing=difference needs a source text, which says what the picture shows: fit with one.")
        guidance = DIFFERENCE_GUIDANCE if mixing == "difference" else GUIDANCE
        return replace(
            self, mixing=mixing, guidance_scale=guidance if self.guidance_scale is None else self.guidance_scale
        )

    def guidance(self, eta: float) -> float:
        """The guidance scale at a strength, of settled options."""
        full = GUIDANCE if self.guidance_scale is None else self.guidance_scale
        return self.guidance_at_zero + (full - self.guidance_at_zero) * min(eta, 1.0)
