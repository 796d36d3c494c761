"""Stable Diffusion (Rombach et al. 2022) and every model in its pipeline layout, the bundled one included.

A latent diffusion model: AutoencoderKL, a CLIP text encoder, a cross-attention UNet. Noise levels, prediction kind, VAE
scale and text length are read from the checkpoint's own configs. There is no safety checker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from imagic.backbones import attention, instruction
from imagic.backbones.autoencoder import Autoencoder
from imagic.backbones.export import FORMS
from imagic.backbones.fingerprint import fingerprint, part_facts, settings
from imagic.backbones.foreign import told
from imagic.backbones.network import NetworkBackbone, check_channels, longer_side
from imagic.backbones.placement import Place
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import Layout, read_parts
from imagic.backbones.texts import TextEncoder, text_length
from imagic.backbones.vp import VPGrid
from imagic.backbones.words import tokens
from imagic.core.conditioning import Conditioning
from imagic.core.types import Ability, AttentionControl, TextReport, Token

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

LAYOUT = Layout(
    "StableDiffusionPipeline",
    "unet",
    {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "tokenizer": CLIPTokenizer,
        "scheduler": DDIMScheduler,
    },
    {"vae": "first_stage_model.", "text_encoder": "cond_stage_model."},
)


def load(plan: LoadPlan) -> StableDiffusionBackbone:
    """The entry point of the family, see backbones.loading."""
    parts = read_parts(plan, LAYOUT)
    with told(f"'{plan.folder / instruction.ADAPTER}' could not be loaded"):
        editor = instruction.read_editor(plan.folder, parts["unet"])
    return StableDiffusionBackbone(plan.name, **parts, editor=editor, **plan.placement())


class StableDiffusionBackbone(NetworkBackbone):
    """core.types.Backbone over diffusers' models. A text's bundle: `sequence` (B, L, C), learnable, and for an
    instruction the picture's latents (B, C, h, w)."""

    forms = FORMS

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: Any,
        *,
        editor: UNet2DConditionModel | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        """Takes the components over: they are moved, cast to dtype, frozen and set to eval mode.

        scheduler: any diffusers scheduler; only its config is used. editor: a UNet that also takes the latents of a
        picture to change, see backbones.instruction; it may be `unet` itself. device, dtype, offload: see
        backbones.placement; dtype None is the device's default. autocast: a lower precision in which the UNet
        multiplies while it is fitted (its weights stay in dtype); None for none. Raises ModelError for a checkpoint
        that is not plain text-to-image Stable Diffusion.
        """
        grid = VPGrid(name, scheduler)
        channels = vae.config["latent_channels"]
        check_channels(name, unet, 2 * channels if unet is editor else channels)
        networks = {"unet": unet, "vae": vae, "text_encoder": text_encoder}
        if editor is not None and editor is not unet:
            networks["editor"] = editor
        self.fingerprint = fingerprint(
            networks,
            part_facts(networks)
            | {
                "scheduler": settings(grid.config, DDIMScheduler),
                "vocabulary": tokenizer.get_vocab(),
                "text_length": text_length(text_encoder, tokenizer),
            },
        )
        place = Place.of(unet, device, dtype, offload)
        self._autoencoder = Autoencoder(vae, place)
        super().__init__(name, unet, self._autoencoder, grid, place, autocast)
        self.unet, self.vae, self.text_encoder, self.tokenizer = unet, vae, text_encoder, tokenizer
        self.editor = editor
        if editor is not None:
            place.settle(editor, stays=True)
        self._texts = TextEncoder(text_encoder, tokenizer, place)
        self.prediction = grid.prediction
        self.abilities = frozenset(
            {Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION, Ability.CROSS_ATTENTION}
            | ({Ability.INSTRUCTION} if editor is not None else set())
        )
        self.image_size = self._pictures.factor * longer_side(unet)
        self.size_multiple = self._pictures.factor * 2 ** (len(unet.config["block_out_channels"]) - 1)

    @classmethod
    def from_pipeline(
        cls, pipeline: StableDiffusionPipeline, *, name: str, **placement: Any
    ) -> StableDiffusionBackbone:
        """A loaded pipeline's components, taken over. placement: as for the class."""
        return cls(name, **{part: getattr(pipeline, part) for part in LAYOUT.classes}, **placement)

    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        return Conditioning({"sequence": self._texts(texts)[0].float()}, learnable=frozenset({"sequence"}))

    def pipeline_inputs(self, conditioning: Conditioning) -> Mapping[str, Tensor]:
        return {"prompt_embeds": conditioning.tensors["sequence"]}

    def report_text(self, text: str) -> TextReport:
        return self._texts.report(text)

    def tokens(self, text: str) -> Sequence[Token]:
        return tokens(self.tokenizer, text, self._texts.length)

    def with_image(self, conditioning: Conditioning, z0: Tensor, *, blank: bool = False) -> Conditioning:
        if self.editor is None:
            return super().with_image(conditioning, z0, blank=blank)
        image = self._autoencoder.unscaled(z0.to(self.device)).expand(len(conditioning), *z0.shape[1:])
        tensors = {**conditioning.tensors, instruction.IMAGE: torch.zeros_like(image) if blank else image}
        return Conditioning(tensors, conditioning.learnable)

    def attention(self, control: AttentionControl) -> AbstractContextManager[None]:
        return attention.controlled(self.unet, control)

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        image = conditioning.tensors.get(instruction.IMAGE)
        network = self.unet if image is None or self.editor is None else self.editor
        if network is self.editor:  # a picture that is not there is zero, as in training
            z = torch.cat([z, torch.zeros_like(z) if image is None else image.to(z)], dim=1)
        with self._precision() as dtype:
            output: Tensor = network(
                z.to(self.device, dtype),
                timestep.to(self.device),
                encoder_hidden_states=conditioning.tensors["sequence"].to(self.device, dtype),
                return_dict=False,
            )[0]
        return output.float()
