"""The menagerie's editor by instructions (InstructPix2Pix, Brooks et al. 2023), on the diffusion model as it is.

The UNet's input layer gets channels for the latents of the source, which begin at zero, and its other layers a LoRA
(Hu et al. 2022). Only these are trained and exported. Pairs and instructions come from the edits, in both directions,
so that a hat can be taken off as well as put on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from torch import Tensor, nn

from imagic.backbones.instruction import INPUT, adapted, save_adapter, widened
from imagic.backbones.vp import VPGrid
from imagic.core.seeds import derive
from imagic.core.types import WeightChange
from imagic.menagerie.edits import held_out_edits
from imagic.menagerie.facts import facts
from imagic.menagerie.instructions import instruction
from imagic.menagerie.training.noising import noised
from imagic.menagerie.training.pairs import PAIR
from imagic.menagerie.training.shards import ShardStore
from imagic.menagerie.training.world import draw, tile

RANK = 48
BACK_SHARE = 0.2  # edits that are undone
DROPPED = 0.05  # the paper's share without the text, as many without the picture, as many without both
FILE = "adapter.safetensors"
SHOWN = 12  # edits in a sheet


class InstructTask:
    """From a source and an instruction to the truth."""

    name = "instruct"

    def __init__(
        self, base: StableDiffusionPipeline, store: ShardStore, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        """base: the diffusion model, float32; frozen here. store: latents of training pairs, see training.pairs."""
        self.base, self.store, self.device, self.seed = base, store, device, seed
        for part in (base.unet, base.vae, base.text_encoder):
            part.to(device).eval().requires_grad_(False)
        self.tokenizer, self.scheduler = base.tokenizer, base.scheduler
        self.grid = VPGrid(self.name, self.scheduler)
        self.wide = widened(base.unet)
        factors = add_lora(self.wide)
        self.parts: dict[str, nn.Module] = {"input": self.wide.conv_in, "adapter": factors}
        for each in self.parts.values():
            each.requires_grad_(True)

    def networks(self) -> dict[str, nn.Module]:
        return self.parts

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """`batch` pairs."""
        scenes, latents = self.store.batch(step, PAIR * batch)
        rng = np.random.default_rng(derive(self.seed, f"instructions/{step}"))
        rows = latents.to(self.device).float()
        sources, truths, texts = rows[::PAIR].clone(), rows[1::PAIR].clone(), []
        for row in range(batch):
            before, after = (facts(scene) for scene in scenes[PAIR * row : PAIR * (row + 1)])
            if rng.random() < BACK_SHARE:
                before, after = after, before
                sources[row], truths[row] = rows[PAIR * row + 1], rows[PAIR * row]
            text, chance = instruction(before, after, rng), rng.random()
            texts.append("" if chance < 2 * DROPPED else text)
            if DROPPED <= chance < 3 * DROPPED:
                sources[row] = 0
        given = noised(truths, self.grid, noise)
        # The paper's network, and so diffusers' pipeline, sees the picture's latents as the encoder gives them.
        beside = sources / self.base.vae.config["scaling_factor"]
        output = self.wide(torch.cat([given.z, beside], dim=1), given.timestep, self._read(texts)).sample
        loss = (output.float() - given.target).square().mean()
        return loss, {"loss": loss.item()}

    @torch.no_grad()
    def _read(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return cast(Tensor, self.base.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state)

    def editor(self, networks: Mapping[str, nn.Module]) -> UNet2DConditionModel:
        """The UNet with these networks in it."""
        layer = {f"conv_in.{name}": tensor for name, tensor in networks["input"].state_dict().items()}
        return adapted(widened(self.base.unet), layer, change_of(networks["adapter"]))

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        """Held-out edits: sources, results and truths, a row of each."""
        base = self.base
        pipeline = StableDiffusionInstructPix2PixPipeline(
            vae=base.vae, text_encoder=base.text_encoder, tokenizer=base.tokenizer, unet=self.editor(networks),
            scheduler=base.scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        edits = held_out_edits(SHOWN)
        sources, truths = (draw([getattr(edit, name) for edit in edits], self.device) for name in ("source", "truth"))
        results = pipeline(
            [edit.instruction for edit in edits], image=(sources + 1) / 2, num_inference_steps=20, guidance_scale=4.0,
            image_guidance_scale=1.5, generator=torch.Generator().manual_seed(0), output_type="pt",
        ).images  # fmt: skip
        return tile(torch.cat([sources, results.to(sources) * 2 - 1, truths]), columns=SHOWN)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        layer = cast(nn.Conv2d, networks["input"])
        save_adapter(folder / FILE, self.base.unet, layer, change_of(networks["adapter"]))


def add_lora(unet: UNet2DConditionModel) -> nn.ModuleDict:
    """A LoRA on every layer between the UNet's ends, in place; its factors by peft's names, with "/" for dots."""
    layers = [
        name
        for name, module in unet.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not name.startswith(("conv_in", "conv_out"))
    ]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=layers), unet)
    factors: dict[str, nn.Module] = {}
    for name in layers:
        layer: Any = unet.get_submodule(name)
        for factor in ("lora_A", "lora_B"):
            factors[f"{name}.{factor}".replace(".", "/")] = getattr(layer, factor)["default"]
    return nn.ModuleDict(factors)


def change_of(factors: nn.Module) -> WeightChange:
    """The factors of `add_lora` as a change of the UNet's weights."""
    tensors = {name.replace("/", "."): tensor.detach() for name, tensor in factors.state_dict().items()}
    return WeightChange("lora", tensors, {"rank": RANK, "alpha": float(RANK)})


def split_adapter(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of an exported adapter by the networks of the task and their own names, float32."""
    inputs = {name: tensor.float() for name, tensor in tensors.items() if name.startswith(INPUT)}
    factors = {name: tensor.float() for name, tensor in tensors.items() if name not in inputs}
    return {
        "input": {name.removeprefix(INPUT): tensor for name, tensor in inputs.items()},
        "adapter": {_module_name(name): tensor for name, tensor in factors.items()},
    }


def _module_name(name: str) -> str:
    """peft's name of a factor as in `add_lora`: a module's name has no dots, its parameter's follows the last."""
    module, parameter = name.rsplit(".", 1)
    return f"{module.replace('.', '/')}.{parameter}"
