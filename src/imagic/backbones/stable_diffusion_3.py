"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): rectified flow, two CLIP encoders and, where it is there, T5.

The network takes one sequence, CLIP's channels filled up with zeros to T5's width. The zeros, and the whole T5 part
where there is none, are no part of a text's bundle, so that nothing optimises or interpolates them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
)
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from imagic.backbones.autoencoder import Autoencoder
from imagic.backbones.fingerprint import fingerprint, part_facts, settings
from imagic.backbones.flow import FlowGrid, logit_normal
from imagic.backbones.network import NetworkBackbone, check_channels
from imagic.backbones.placement import Place
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import Layout, read_parts
from imagic.backbones.texts import TextEncoder, seen_by_none
from imagic.core.conditioning import Conditioning
from imagic.core.noise import Prediction
from imagic.core.types import Ability, TextReport

if TYPE_CHECKING:
    from diffusers import StableDiffusion3Pipeline

# What the pipeline gives T5 to read, and what it leaves empty without one.
T5_LENGTH = 256

LAYOUT = Layout(
    "StableDiffusion3Pipeline",
    "transformer",
    {
        "transformer": SD3Transformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection,
        "text_encoder_3": T5EncoderModel,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": CLIPTokenizer,
        "tokenizer_3": T5TokenizerFast,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    },
    {
        "vae": "first_stage_model.",
        "text_encoder": "text_encoders.clip_l.",
        "text_encoder_2": "text_encoders.clip_g.",
        "text_encoder_3": "text_encoders.t5xxl.",
    },
    optional=frozenset({"text_encoder_3", "tokenizer_3"}),
)


def load(plan: LoadPlan) -> StableDiffusion3Backbone:
    """The entry point of the family, see backbones.loading."""
    return StableDiffusion3Backbone(plan.name, **read_parts(plan, LAYOUT), **plan.placement())


class StableDiffusion3Backbone(NetworkBackbone):
    """core.types.Backbone over diffusers' models. A text's bundle, all learnable: `clip` (B, L, C), both encoders'
    channels; `pooled` (B, C), both encoders'; and with T5 `t5` (B, T5_LENGTH, D)."""

    part = LAYOUT.network

    def __init__(
        self,
        name: str,
        transformer: SD3Transformer2DModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModelWithProjection,
        text_encoder_2: CLIPTextModelWithProjection,
        text_encoder_3: T5EncoderModel | None,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        tokenizer_3: T5TokenizerFast | None,
        scheduler: Any,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        """Takes the components over: they are moved, cast to dtype, frozen and set to eval mode.

        text_encoder_3, tokenizer_3: None for a model without T5. scheduler: one of flow; only its config is used.
        device, dtype, offload: see backbones.placement; dtype None is the device's default. autocast: a lower precision
        in which the transformer multiplies while it is fitted. Raises ModelError for another kind of model.
        """
        check_channels(name, transformer, vae.config["latent_channels"])
        networks = {
            "transformer": transformer,
            "vae": vae,
            "text_encoder": text_encoder,
            "text_encoder_2": text_encoder_2,
        }
        tokenizers = [tokenizer, tokenizer_2]
        if text_encoder_3 is not None:
            networks["text_encoder_3"] = text_encoder_3
            tokenizers.append(tokenizer_3)
        side, patch = int(transformer.config["sample_size"]), int(transformer.config["patch_size"])
        grid = FlowGrid(scheduler, (side // patch) ** 2, logit_normal(scheduler.config["num_train_timesteps"]))
        self.fingerprint = fingerprint(
            networks,
            part_facts(networks)
            | {
                "scheduler": settings(grid.config, FlowMatchEulerDiscreteScheduler),
                "vocabularies": [each.get_vocab() for each in tokenizers],
            },
        )
        place = Place.of(transformer, device, dtype, offload)
        super().__init__(name, transformer, Autoencoder(vae, place), grid, place, autocast)
        self.transformer = transformer
        self._clips = (TextEncoder(text_encoder, tokenizer, place), TextEncoder(text_encoder_2, tokenizer_2, place))
        self._t5 = None if text_encoder_3 is None else TextEncoder(text_encoder_3, tokenizer_3, place, T5_LENGTH)
        self.prediction = Prediction.FLOW
        self.abilities = frozenset({Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION})
        self.image_size = self._pictures.factor * side
        self.size_multiple = self._pictures.factor * patch

    @classmethod
    def from_pipeline(
        cls, pipeline: StableDiffusion3Pipeline, *, name: str, **placement: Any
    ) -> StableDiffusion3Backbone:
        """A loaded pipeline's components, taken over."""
        return cls(name, **{part: getattr(pipeline, part) for part in LAYOUT.classes}, **placement)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        clips = [encoder(texts, output_hidden_states=True) for encoder in self._clips]
        tensors = {
            "clip": torch.cat([output.hidden_states[-2] for output in clips], dim=-1).float(),
            "pooled": torch.cat([output.text_embeds for output in clips], dim=-1).float(),
        }
        if self._t5 is not None:
            tensors["t5"] = self._t5(texts)[0].float()
        return Conditioning(tensors, learnable=frozenset(tensors))

    def pipeline_inputs(self, conditioning: Conditioning) -> Mapping[str, Tensor]:
        return {
            "prompt_embeds": self._sequence(conditioning),
            "pooled_prompt_embeds": conditioning.tensors["pooled"],
        }

    def report_text(self, text: str) -> TextReport:
        encoders = self._clips if self._t5 is None else (*self._clips, self._t5)
        return seen_by_none([encoder.report(text) for encoder in encoders])

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        with self._precision() as dtype:
            output: Tensor = self.transformer(
                hidden_states=z.to(self.device, dtype),
                timestep=timestep.to(self.device),
                encoder_hidden_states=self._sequence(conditioning).to(self.device, dtype),
                pooled_projections=conditioning.tensors["pooled"].to(self.device, dtype),
                return_dict=False,
            )[0]
        return output.float()

    def _sequence(self, conditioning: Conditioning) -> Tensor:
        """(B, L + T5_LENGTH, D): CLIP's tokens, then T5's, with zeros for what is not there."""
        clip, width = conditioning.tensors["clip"], self.transformer.config["joint_attention_dim"]
        t5 = conditioning.tensors.get("t5", clip.new_zeros(len(clip), T5_LENGTH, width))
        return torch.cat([F.pad(clip, (0, width - clip.shape[-1])), t5], dim=1)
