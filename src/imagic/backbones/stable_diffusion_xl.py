"""Stable Diffusion XL (Podell et al. 2023): two CLIP encoders side by side, a pooled text, and the picture's size.

The size ids say that the picture has the size at which it is edited, and was not cropped. There is no refiner and no
watermark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from imagic.backbones import attention
from imagic.backbones.autoencoder import Autoencoder
from imagic.backbones.export import FORMS
from imagic.backbones.fingerprint import fingerprint, part_facts, settings
from imagic.backbones.network import NetworkBackbone, check_channels, longer_side
from imagic.backbones.placement import Place
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import Layout, read_parts
from imagic.backbones.texts import TextEncoder, seen_by_none
from imagic.backbones.vp import VPGrid
from imagic.backbones.words import tokens
from imagic.core.conditioning import Conditioning
from imagic.core.types import Ability, AttentionControl, TextReport, Token

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLPipeline

LAYOUT = Layout(
    "StableDiffusionXLPipeline",
    "unet",
    {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": CLIPTokenizer,
        "scheduler": DDIMScheduler,
    },
    {
        "vae": "first_stage_model.",
        "text_encoder": "conditioner.embedders.0.",
        "text_encoder_2": "conditioner.embedders.1.",
    },
)


def load(plan: LoadPlan) -> StableDiffusionXLBackbone:
    """The entry point of the family, see backbones.loading."""
    zero_null = bool(plan.index.get("force_zeros_for_empty_prompt", True))
    return StableDiffusionXLBackbone(plan.name, **read_parts(plan, LAYOUT), zero_null=zero_null, **plan.placement())


class StableDiffusionXLBackbone(NetworkBackbone):
    """core.types.Backbone over diffusers' models. A text's bundle: `sequence` (B, L, C), both encoders' channels, and
    `pooled` (B, C'), the second's; both are learnable."""

    forms = FORMS

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        scheduler: Any,
        *,
        zero_null: bool = True,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        """Takes the components over: they are moved, cast to dtype, frozen and set to eval mode.

        scheduler: any diffusers scheduler; only its config is used. zero_null: the unconditional text is all zeros, as
        the model was trained. device, dtype, offload: see backbones.placement; dtype None is the device's default.
        autocast: a lower precision in which the UNet multiplies while it is fitted. Raises ModelError for another kind
        of model.
        """
        grid = VPGrid(name, scheduler)
        check_channels(name, unet, vae.config["latent_channels"])
        networks = {"unet": unet, "vae": vae, "text_encoder": text_encoder, "text_encoder_2": text_encoder_2}
        self.fingerprint = fingerprint(
            networks,
            part_facts(networks)
            | {
                "scheduler": settings(grid.config, DDIMScheduler),
                "vocabularies": [tokenizer.get_vocab(), tokenizer_2.get_vocab()],
                "zero_null": zero_null,
            },
        )
        place = Place.of(unet, device, dtype, offload)
        super().__init__(name, unet, Autoencoder(vae, place), grid, place, autocast)
        self.unet, self._zero_null = unet, zero_null
        self._texts = (TextEncoder(text_encoder, tokenizer, place), TextEncoder(text_encoder_2, tokenizer_2, place))
        self.prediction = grid.prediction
        self.abilities = frozenset(
            {Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION, Ability.CROSS_ATTENTION}
        )
        self.image_size = self._pictures.factor * longer_side(unet)
        self.size_multiple = self._pictures.factor * 2 ** (len(unet.config["block_out_channels"]) - 1)

    @classmethod
    def from_pipeline(
        cls, pipeline: StableDiffusionXLPipeline, *, name: str, **placement: Any
    ) -> StableDiffusionXLBackbone:
        """A loaded pipeline's components, taken over."""
        parts = {part: getattr(pipeline, part) for part in LAYOUT.classes}
        return cls(name, **parts, zero_null=pipeline.config["force_zeros_for_empty_prompt"], **placement)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        # The last but one hidden state of each encoder, and the second's pooled and projected text.
        first, second = (encoder(texts, output_hidden_states=True) for encoder in self._texts)
        sequence = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1).float()
        pooled = second.text_embeds.float()
        if self._zero_null:
            empty = torch.tensor([text == "" for text in texts], device=sequence.device)
            sequence = sequence.masked_fill(empty[:, None, None], 0)
            pooled = pooled.masked_fill(empty[:, None], 0)
        return Conditioning({"sequence": sequence, "pooled": pooled}, learnable=frozenset({"sequence", "pooled"}))

    def pipeline_inputs(self, conditioning: Conditioning) -> Mapping[str, Tensor]:
        return {
            "prompt_embeds": conditioning.tensors["sequence"],
            "pooled_prompt_embeds": conditioning.tensors["pooled"],
        }

    def report_text(self, text: str) -> TextReport:
        return seen_by_none([encoder.report(text) for encoder in self._texts])

    def tokens(self, text: str) -> Sequence[Token]:
        return tokens(self._texts[0].tokenizer, text, self._texts[0].length)

    def attention(self, control: AttentionControl) -> AbstractContextManager[None]:
        return attention.controlled(self.unet, control)

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        with self._precision() as dtype:
            output: Tensor = self.unet(
                z.to(self.device, dtype),
                timestep.to(self.device),
                encoder_hidden_states=conditioning.tensors["sequence"].to(self.device, dtype),
                added_cond_kwargs={
                    "text_embeds": conditioning.tensors["pooled"].to(self.device, dtype),
                    "time_ids": self._size_ids(z).to(dtype),
                },
                return_dict=False,
            )[0]
        return output.float()

    def _size_ids(self, z: Tensor) -> Tensor:
        """(B, 6): original height and width, top and left of the crop, target height and width, in pixels."""
        height, width = (self._pictures.factor * side for side in z.shape[-2:])
        ids = torch.tensor([height, width, 0, 0, height, width], device=self.device, dtype=torch.float32)
        return ids.expand(len(z), -1)
