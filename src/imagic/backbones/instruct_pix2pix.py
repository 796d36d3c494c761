"""InstructPix2Pix (Brooks et al., CVPR 2023) and every model in its pipeline layout: Stable Diffusion whose one UNet
also takes the latents of a picture to change. Without a picture it is an ordinary text-to-image model."""

from __future__ import annotations

from dataclasses import replace

from imagic.backbones import stable_diffusion
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import read_parts
from imagic.backbones.stable_diffusion import StableDiffusionBackbone

LAYOUT = replace(stable_diffusion.LAYOUT, pipeline="StableDiffusionInstructPix2PixPipeline")


def load(plan: LoadPlan) -> StableDiffusionBackbone:
    """The entry point of the family, see backbones.loading."""
    parts = read_parts(plan, LAYOUT)
    return StableDiffusionBackbone(plan.name, **parts, editor=parts["unet"], **plan.placement())
