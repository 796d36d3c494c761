"""Attention maps of a diffusers UNet, seen and changed while it runs.

diffusers' own processors fuse softmax and product, which is fast and hides the maps. Ours computes them, and only for
the layers that the control asks for: a map of 64 x 64 queries onto themselves takes gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from imagic.core.types import AttentionControl, AttentionLayer


@contextmanager
def controlled(unet: nn.Module, control: AttentionControl) -> Iterator[None]:
    """Within: the attention layers of the UNet's transformer blocks ask `control`. After: their own processors again.

    unet: a network whose first argument is the latent (B, C, h, w), and whose blocks halve its sides, rounding up.
    """
    sides: list[tuple[int, int]] = [(0, 0)]

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        sides[0] = inputs[0].shape[-2:]

    layers = {
        f"{name}.{part}": layer
        for name, block in unet.named_modules()
        if isinstance(block, BasicTransformerBlock)
        for part, layer in block.named_children()
        if part in ("attn1", "attn2")
    }
    originals = {name: layer.processor for name, layer in layers.items()}
    hook = unet.register_forward_pre_hook(note)
    try:
        for name, layer in layers.items():
            layer.processor = ShownAttention(name, originals[name], control, sides)
        yield
    finally:
        hook.remove()
        for name, layer in layers.items():
            layer.processor = originals[name]


class ShownAttention:
    """softmax(Q K^T / sqrt(d)) V with the softmax in the open: a processor of diffusers' Attention.

    original: does the work where `control` does not want the layer. sides: holds (h, w) of the latent now in the UNet.
    """

    def __init__(self, name: str, original: Any, control: AttentionControl, sides: list[tuple[int, int]]) -> None:
        self._name, self._original, self._control, self._sides = name, original, control, sides

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """hidden_states: (B, queries, channels); attention_mask: (B, 1, keys), added to the scores."""
        cross = encoder_hidden_states is not None
        layer = AttentionLayer(self._name, cross, _grid(self._sides[0], hidden_states.shape[1]))
        if not self._control.wants(layer):
            untouched: Tensor = self._original(attn, hidden_states, encoder_hidden_states, attention_mask)
            return untouched
        context = encoder_hidden_states if encoder_hidden_states is not None else hidden_states
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projected in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        scores = query.float() @ key.float().transpose(-1, -2) * attn.scale
        if attention_mask is not None:
            scores = scores + attention_mask[:, None]
        maps = self._control(layer, scores.softmax(-1))
        mixed = (maps.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        projection, dropout = attn.to_out
        output: Tensor = dropout(projection(mixed))
        return output


def _grid(sides: tuple[int, int], queries: int) -> tuple[int, int]:
    """The latent's sides, halved until they hold so many queries."""
    height, width = sides
    while height * width > queries:
        height, width = -(-height // 2), -(-width // 2)
    return height, width
