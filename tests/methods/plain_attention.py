"""Attention control as one would write it by hand for one diffusers pipeline: the oracle of Prompt-to-Prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

# (maps of one layer (rows, heads, queries, keys), whether over the text, step) -> None; changes the maps in place.
Edit = Callable[[Tensor, bool, int], None]


class Processor:
    """A processor of diffusers' Attention that lets `edit` write into the maps."""

    def __init__(self, edit: Edit, clock: list[int]) -> None:
        self.edit, self.clock = edit, clock

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *_: Any, **__: Any
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        query, key, value = (attn.head_to_batch_dim(each) for each in (query, key, value))
        maps = attn.get_attention_scores(query, key).unflatten(0, (len(hidden_states), attn.heads))
        self.edit(maps, encoder_hidden_states is not None, self.clock[0])
        output: Tensor = attn.to_out[0](attn.batch_to_head_dim(maps.flatten(0, 1) @ value))
        return output


@torch.no_grad()
def denoise(
    pipeline: StableDiffusionPipeline,
    z: Tensor,
    texts: Tensor,
    nulls: Tensor,
    scale: float,
    num_steps: int,
    edit: Edit,
    after: Callable[[Tensor, int], Tensor] = lambda z, _: z,
) -> Tensor:
    """z: (B, C, h, w). texts: (B, L, C). nulls: (steps, L, C), or (1, L, C). Rows of `edit`: B without text, B with.
    after: what becomes of z at the end of a step."""
    clock = [0]
    pipeline.unet.set_attn_processor(Processor(edit, clock))
    pipeline.scheduler.set_timesteps(num_steps)
    for step, t in enumerate(pipeline.scheduler.timesteps):
        clock[0] = step
        null = nulls[min(step, len(nulls) - 1)].expand_as(texts)
        without, with_text = pipeline.unet(torch.cat([z, z]), t, torch.cat([null, texts])).sample.chunk(2)
        z = pipeline.scheduler.step(without + scale * (with_text - without), t, z).prev_sample
        z = after(z, step)
    return z


def sharpen(unet: nn.Module) -> None:
    """Random weights look everywhere alike; with these, maps differ and matter."""
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if name.endswith(("to_q.weight", "to_k.weight", "to_out.0.weight")):
                weight *= 4
