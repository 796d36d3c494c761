"""DeepFloyd IF (Stability AI 2023), the open counterpart of Imagen (Saharia et al. 2022): a cascade in pixels.

A text by T5, a base that makes small pictures, and networks that enlarge them. The networks also put out a variance,
which deterministic sampling does not need and no loss of ours trains. There is no safety checker and no watermark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import T5EncoderModel, T5TokenizerFast

from imagic.backbones.deepfloyd_upper import DeepFloydUpperStage, size_multiple
from imagic.backbones.fingerprint import fingerprint, part_facts, settings
from imagic.backbones.network import NetworkBackbone, check_channels, longer_side
from imagic.backbones.pixels import CHANNELS, Pixels
from imagic.backbones.placement import Place
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import Layout, read_parts
from imagic.backbones.texts import TextEncoder, text_length
from imagic.backbones.vp import VPGrid
from imagic.core.conditioning import Conditioning
from imagic.core.types import Ability, TextReport, UpperStage

if TYPE_CHECKING:
    from diffusers import IFPipeline, IFSuperResolutionPipeline

# What the pipeline gives T5 to read: no config holds it.
T5_LENGTH = 77

LAYOUT = Layout(
    "IFPipeline",
    "unet",
    {
        "unet": UNet2DConditionModel,
        "text_encoder": T5EncoderModel,
        "tokenizer": T5TokenizerFast,
        "scheduler": DDPMScheduler,
    },
    cascade=True,
)
UPPER_LAYOUT = Layout(
    "IFSuperResolutionPipeline",
    "unet",
    {"unet": UNet2DConditionModel, "scheduler": DDPMScheduler, "image_noising_scheduler": DDPMScheduler},
)


def load(plan: LoadPlan) -> DeepFloydBackbone:
    """The entry point of the family, see backbones.loading."""
    upper = [read_parts(stage, UPPER_LAYOUT) for stage in plan.upper_stages()]
    return DeepFloydBackbone(plan.name, **read_parts(plan, LAYOUT), upper=upper, **plan.placement())


class DeepFloydBackbone(NetworkBackbone):
    """core.types.Backbone over diffusers' models. A text's bundle: `sequence` (B, T5_LENGTH, D), learnable; padding is
    part of it, since the network attends to it. Latents are the base's pictures (B, 3, h, w)."""

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        text_encoder: T5EncoderModel,
        tokenizer: T5TokenizerFast,
        scheduler: Any,
        *,
        upper: Sequence[Mapping[str, Any]] = (),
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        """Takes the components over: they are moved, cast to dtype, frozen and set to eval mode.

        scheduler: any diffusers scheduler; only its config is used. upper: for each stage above, from small to large,
        its `unet`, `scheduler` and `image_noising_scheduler`. device, dtype, offload: see backbones.placement; dtype
        None is the device's default, which each network has for itself. autocast: a lower precision in which a UNet
        multiplies while it is fitted. Raises ModelError for another kind of model.
        """
        grid = VPGrid(name, scheduler, pixels=True)
        check_channels(name, unet, CHANNELS)
        place = Place.of(unet, device, dtype, offload)
        sides = [longer_side(each) for each in (unet, *(stage["unet"] for stage in upper))]
        placement: Any = {"device": device, "dtype": dtype, "autocast": autocast, "offload": offload}
        self._upper = tuple(
            DeepFloydUpperStage(name, self, **stage, below=below, top=sides[-1], **placement)
            for below, stage in zip(sides, upper, strict=False)
        )
        networks = {"unet": unet, "text_encoder": text_encoder}
        self.fingerprint = fingerprint(
            networks,
            part_facts(networks)
            | {
                "scheduler": settings(grid.config, DDIMScheduler),
                "vocabulary": tokenizer.get_vocab(),
                "text_length": text_length(text_encoder, tokenizer, T5_LENGTH),
                "upper": [stage.fingerprint for stage in self._upper],
            },
        )
        super().__init__(name, unet, Pixels(sides[-1] // sides[0], place.device), grid, place, autocast)
        self._texts = TextEncoder(text_encoder, tokenizer, place, T5_LENGTH, masked=True)
        self.unet, self.prediction = unet, grid.prediction
        self.abilities = frozenset(
            {Ability.TEXT_GRADIENT, Ability.FINE_TUNING, Ability.GUIDANCE, Ability.INVERSION}
            | ({Ability.CASCADE} if upper else set())
        )
        self.image_size = sides[-1]
        self.size_multiple = math.lcm(
            size_multiple(unet, self._pictures.factor), *(stage.size_multiple for stage in self._upper)
        )

    @classmethod
    def from_pipeline(
        cls, pipeline: IFPipeline, *, name: str, upper: Sequence[IFSuperResolutionPipeline] = (), **placement: Any
    ) -> DeepFloydBackbone:
        """Loaded pipelines' components, taken over. upper: of the stages above, whose text encoders are not used."""
        stages = [{part: getattr(stage, part) for part in UPPER_LAYOUT.classes} for stage in upper]
        return cls(name, **{part: getattr(pipeline, part) for part in LAYOUT.classes}, upper=stages, **placement)

    def upper_stages(self) -> Sequence[UpperStage]:
        return self._upper

    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        sequence = self._texts([_plain(text) for text in texts])[0].float()
        return Conditioning({"sequence": sequence}, learnable=frozenset({"sequence"}))

    def pipeline_inputs(self, conditioning: Conditioning) -> Mapping[str, Tensor]:
        return {"prompt_embeds": conditioning.tensors["sequence"]}

    def report_text(self, text: str) -> TextReport:
        return self._texts.report(_plain(text))

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        with self._precision() as dtype:
            output: Tensor = self.unet(
                z.to(self.device, dtype),
                timestep.to(self.device),
                encoder_hidden_states=conditioning.tensors["sequence"].to(self.device, self.dtype),
                return_dict=False,
            )[0]
        return output[:, :CHANNELS].float()


def _plain(text: str) -> str:
    """A text as the pipeline gives it to T5."""
    return text.lower().strip()
