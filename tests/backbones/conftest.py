"""One tiny model of each family, with what only that family's pipeline says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor

from imagic.backbones.deepfloyd import DeepFloydBackbone
from imagic.backbones.flux import FluxBackbone
from imagic.backbones.stable_diffusion_3 import StableDiffusion3Backbone
from imagic.backbones.stable_diffusion_xl import StableDiffusionXLBackbone
from imagic.backbones.z_image import ZImageBackbone
from tests.backbones import tiny


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@dataclass(frozen=True)
class Family:
    """build: a new pipeline, always with the same weights, of 16 px pictures. kind: the backbone's class. call: further
    arguments of the pipeline's call, for two texts. distilled: takes the guidance scale as an input. shape: of a
    latent. multiple: of the sides of its pictures. t5_length: what a T5 in it reads, which limits a text. given: what
    the backbone is told that the pipeline does not say."""

    name: str
    build: Callable[..., Any]
    kind: type
    call: dict[str, Any] = field(default_factory=dict)
    distilled: bool = False
    shape: tuple[int, int, int] = (4, 8, 8)
    multiple: int = 4
    t5_length: int = 0
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def t5(self) -> dict[str, int]:
        """What says to the pipeline how much the tiny T5 reads; IF's reads as much as it always does."""
        return {"max_sequence_length": self.t5_length} if self.t5_length and self.name != "if" else {}

    def backbone(self, pipeline: Any = None, **placement: Any) -> Any:
        return self.kind.from_pipeline(pipeline or self.build(), name="tiny", **self.given, **placement)

    def network(self, pipeline: Any) -> Any:
        return pipeline.unet if self.name in ("sdxl", "if") else pipeline.transformer

    def pack(self, z: Tensor) -> Tensor:
        """Latents as the family's pipeline takes them."""
        return FluxPipeline._pack_latents(z, *z.shape) if self.kind is FluxBackbone else z

    def unpack(self, z: Tensor) -> Tensor:
        return FluxPipeline._unpack_latents(z, 16, 16, 2) if self.kind is FluxBackbone else z

    def run(self, pipeline: Any, texts: list[str] | None, z: Tensor, scale: float, output: str) -> Tensor:
        """The pipeline's result in ten steps from the noise z, as latents or as an image."""
        pipeline.set_progress_bar_config(disable=True)
        if self.kind is DeepFloydBackbone:
            return self._run_pixels(pipeline, texts, z, scale, output)
        result = pipeline(
            texts,
            latents=self.pack(z),
            num_inference_steps=10,
            guidance_scale=scale - 1 if self.kind is ZImageBackbone else scale,
            height=16,
            width=16,
            output_type=output,
            **self.call,
            **self.t5,
        ).images
        return self.unpack(result) if output == "latent" else result

    def _run_pixels(self, pipeline: Any, texts: list[str] | None, z: Tensor, scale: float, output: str) -> Tensor:
        pipeline.prepare_intermediate_images = lambda *_: z
        image: Tensor = pipeline(
            texts, num_inference_steps=10, guidance_scale=scale, output_type="pt", clean_caption=False, **self.call
        ).images
        return image if output == "latent" else (image / 2 + 0.5).clamp(0, 1)

    def raw(self, pipeline: Any, z: Tensor, timestep: Tensor, texts: list[str], guidance: float = 1.0) -> Tensor:
        """The network's output for the pipeline's own encoding of the texts."""
        with torch.no_grad():
            if self.kind is DeepFloydBackbone:
                sequence, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
                return pipeline.unet(z, timestep, sequence).sample[:, :3]
            if self.kind is StableDiffusionXLBackbone:
                sequence, _, pooled, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
                side = [2 * z.shape[-2], 2 * z.shape[-1]]
                ids = torch.tensor([[*side, 0, 0, *side]] * len(z), dtype=torch.float32)
                added = {"text_embeds": pooled, "time_ids": ids}
                return pipeline.unet(z, timestep, sequence, added_cond_kwargs=added).sample
            if self.kind is StableDiffusion3Backbone:
                sequence, _, pooled, _ = pipeline.encode_prompt(
                    texts, None, None, do_classifier_free_guidance=False, **self.t5
                )
                return pipeline.transformer(z, sequence, pooled, timestep).sample
            if self.kind is ZImageBackbone:
                rows, _ = pipeline.encode_prompt(list(texts), do_classifier_free_guidance=False)
                output = pipeline.transformer(list(z.unsqueeze(2)), (1000 - timestep) / 1000, rows).sample
                return -torch.stack(output).squeeze(2)
            sequence, pooled, text_ids = pipeline.encode_prompt(texts, **self.t5)
            height, width = z.shape[-2] // 2, z.shape[-1] // 2
            ids = FluxPipeline._prepare_latent_image_ids(1, height, width, "cpu", torch.float32)
            output = pipeline.transformer(
                self.pack(z),
                sequence,
                pooled,
                timestep / 1000,
                ids,
                text_ids,
                torch.full([len(z)], guidance) if self.distilled else None,
            ).sample
            return FluxPipeline._unpack_latents(output, 2 * z.shape[-2], 2 * z.shape[-1], 2)


FAMILIES = [
    Family("sdxl", tiny.build_sdxl, StableDiffusionXLBackbone),
    Family("if", tiny.build_if, DeepFloydBackbone, shape=(3, 16, 16), multiple=2, t5_length=77),
    Family("sd3", tiny.build_sd3, StableDiffusion3Backbone, t5_length=tiny.T5_LENGTH),
    Family("sd3-without-t5", lambda **changes: tiny.build_sd3(t5=False, **changes), StableDiffusion3Backbone),
    Family("flux", tiny.build_flux, FluxBackbone, distilled=True, t5_length=tiny.T5_LENGTH),
    Family(
        "flux-undistilled",
        lambda **changes: tiny.build_flux(guidance_embeds=False, **changes),
        FluxBackbone,
        {"negative_prompt": ["", ""], "true_cfg_scale": 5.0},
        t5_length=tiny.T5_LENGTH,
    ),
    Family("z-image", tiny.build_z_image, ZImageBackbone, given={"side": 8}),
]


@pytest.fixture(params=FAMILIES, ids=lambda each: each.name)
def family(request: pytest.FixtureRequest) -> Family:
    each: Family = request.param
    return each
