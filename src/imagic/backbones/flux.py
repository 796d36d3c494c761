"""Flux.1 (Black Forest Labs 2024): rectified flow in packed latents, a T5 sequence and a pooled CLIP text.

Flux.1 dev was distilled to take the guidance scale as an input. A text's bundle holds that input at 1, which is what
tuning, inversion and every loss see; guided sampling raises it (core.sampling.predict_guided).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from imagic.backbones.autoencoder import Autoencoder
from imagic.backbones.fingerprint import fingerprint, part_facts, settings
from imagic.backbones.flow import FlowGrid
from imagic.backbones.network import NetworkBackbone, check_channels
from imagic.backbones.placement import Place
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import Layout, read_parts
from imagic.backbones.texts import TextEncoder, seen_by_none
from imagic.core.conditioning import GUIDANCE, Conditioning
from imagic.core.noise import Prediction
from imagic.core.types import Ability, TextReport

if TYPE_CHECKING:
    from diffusers import FluxPipeline

# No config holds these: what the pipeline gives T5 to read, its side in latents, and the side of a packed patch.
T5_LENGTH = 512
SIDE = 128
PATCH = 2
# The transformer multiplies its time by this.
TIME = 1000

LAYOUT = Layout(
    "FluxPipeline",
    "transformer",
    {
        "transformer": FluxTransformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": T5TokenizerFast,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    },
)


def load(plan: LoadPlan) -> FluxBackbone:
    """The entry point of the family, see backbones.loading."""
    return FluxBackbone(plan.name, **read_parts(plan, LAYOUT), **plan.placement())


class FluxBackbone(NetworkBackbone):
    """core.types.Backbone over diffusers' models. A text's bundle: `t5` (B, T5_LENGTH, D) and `pooled` (B, C), both
    learnable, and for a distilled model the guidance (B,). Latents are (B, C, h, w), packed within `predict`."""

    part = LAYOUT.network

    def __init__(
        self,
        name: str,
        transformer: FluxTransformer2DModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: T5EncoderModel,
        tokenizer: CLIPTokenizer,
        tokenizer_2: T5TokenizerFast,
        scheduler: Any,
        *,
        side: int = SIDE,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        """Takes the components over: they are moved, cast to dtype, frozen and set to eval mode.

        scheduler: one of flow; only its config is used. side: of the picture, in latents. device, dtype, offload: see
        backbones.placement; dtype None is the device's default. autocast: a lower precision in which the transformer
        multiplies while it is fitted. Raises ModelError for another kind of model.
        """
        check_channels(name, transformer, PATCH**2 * vae.config["latent_channels"])
        networks = {
            "transformer": transformer,
            "vae": vae,
            "text_encoder": text_encoder,
            "text_encoder_2": text_encoder_2,
        }
        grid = FlowGrid(scheduler, (side // PATCH) ** 2, even=True)
        self.fingerprint = fingerprint(
            networks,
            part_facts(networks)
            | {
                "scheduler": settings(grid.config, FlowMatchEulerDiscreteScheduler),
                "vocabularies": [tokenizer.get_vocab(), tokenizer_2.get_vocab()],
            },
        )
        place = Place.of(transformer, device, dtype, offload)
        super().__init__(name, transformer, Autoencoder(vae, place), grid, place, autocast)
        self.transformer = transformer
        self._clip = TextEncoder(text_encoder, tokenizer, place)
        self._t5 = TextEncoder(text_encoder_2, tokenizer_2, place, T5_LENGTH)
        self.prediction = Prediction.FLOW
        self.abilities = frozenset({Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION})
        self.image_size = self._pictures.factor * side
        self.size_multiple = self._pictures.factor * PATCH

    @classmethod
    def from_pipeline(cls, pipeline: FluxPipeline, *, name: str, **placement: Any) -> FluxBackbone:
        """A loaded pipeline's components, taken over."""
        parts = {part: getattr(pipeline, part) for part in LAYOUT.classes}
        return cls(name, **parts, side=pipeline.default_sample_size, **placement)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        tensors = {"t5": self._t5(texts)[0].float(), "pooled": self._clip(texts).pooler_output.float()}
        learnable = frozenset(tensors)
        if self.transformer.config["guidance_embeds"]:
            tensors[GUIDANCE] = torch.ones(len(texts), device=self.device)
        return Conditioning(tensors, learnable)

    def pipeline_inputs(self, conditioning: Conditioning) -> Mapping[str, Tensor]:
        return {"prompt_embeds": conditioning.tensors["t5"], "pooled_prompt_embeds": conditioning.tensors["pooled"]}

    def report_text(self, text: str) -> TextReport:
        return seen_by_none([self._clip.report(text), self._t5.report(text)])

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        tensors, rows = conditioning.tensors, z.shape[-2] // PATCH
        guidance = tensors.get(GUIDANCE)
        with self._precision() as dtype:
            output: Tensor = self.transformer(
                hidden_states=_pack(z).to(self.device, dtype),
                timestep=timestep.to(self.device) / TIME,
                guidance=None if guidance is None else guidance.to(self.device),
                pooled_projections=tensors["pooled"].to(self.device, dtype),
                encoder_hidden_states=tensors["t5"].to(self.device, dtype),
                txt_ids=torch.zeros(tensors["t5"].shape[1], 3, device=self.device),
                img_ids=_positions(rows, z.shape[-1] // PATCH, self.device),
                return_dict=False,
            )[0]
        return _unpack(output.float(), rows)


def _pack(z: Tensor) -> Tensor:
    """(B, C, h, w) to one row of 4 C numbers per patch of 2 x 2 latents, (B, h w / 4, 4 C)."""
    return F.pixel_unshuffle(z, PATCH).flatten(2).transpose(1, 2)


def _unpack(packed: Tensor, rows: int) -> Tensor:
    """The inverse of _pack. rows: of patches."""
    grid = packed.transpose(1, 2).reshape(len(packed), packed.shape[-1], rows, -1)
    return F.pixel_shuffle(grid, PATCH)


def _positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """(rows columns, 3): zero, row and column of each patch."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], -1).reshape(-1, 3).to(device, torch.float32)
