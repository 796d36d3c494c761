"""Models of the published sizes without their weights, and the FLOP and bytes that a row of theirs takes.

`speed_models.json` has the configs of the checkpoints' parts, and those of tiny models. Weights are drawn on the device
in the precision in which they are used; on the device "meta" they have no storage, and both can be counted anywhere.
"""

from __future__ import annotations

import json
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTokenizer, T5TokenizerFast

from imagic.backbones.loading import locate
from imagic.backbones.network import NetworkBackbone
from imagic.backbones.plan import LoadPlan
from imagic.backbones.reading import read_parts
from imagic.core.conditioning import Conditioning
from imagic.core.losses import denoising_loss, fixed_pairs
from imagic.core.recomputing import kept_bytes
from imagic.core.types import TuningPlan
from imagic.menagerie.tokenizer import build_tokenizer

DATA = json.loads(Path(__file__).with_name("speed_models.json").read_text(encoding="utf-8"))
MODELS: Mapping[str, Mapping[str, Any]] = DATA["models"]
TEXT, TEXT_LENGTH = "a photo of a sitting dog", 77


@dataclass(frozen=True)
class Flop:
    """FLOP of one row: the picture and both texts in, a picture out, the network forward, and a step of A and of B."""

    encode: int
    decode: int
    forward: int
    embedding: int
    network: int


def build(name: str, device: torch.device, dtype: torch.dtype, **placement: Any) -> NetworkBackbone:
    """A model of the data file, its random weights made on the device in this dtype; on "meta" they have no storage.

    placement: as for the family's backbone.
    """
    spec = MODELS[name]
    family: Any = pkgutil.resolve_name(spec["backbone"])
    module = sys.modules[family.__module__]
    if spec.get("bundled"):
        parts = read_parts(LoadPlan(name, locate(name), device), module.LAYOUT)
    else:
        classes = module.LAYOUT.classes
        parts = {part: made(kind, spec["parts"].get(part), device, dtype) for part, kind in classes.items()}
    # Nothing here asks which weights these are, and to hash those of Flux takes a minute.
    with mock.patch.object(module, "fingerprint", return_value=""):
        placement = {**placement, **spec.get("given", {}), "device": device, "dtype": dtype}
        backbone: NetworkBackbone = family(name, **parts, **placement)
    return backbone


def made(kind: Any, config: Mapping[str, Any] | str | None, device: torch.device, dtype: torch.dtype) -> Any:
    """A part of a pipeline. Tokenizers know the words of one text: all are padded, so words do not change the work."""
    if kind is CLIPTokenizer:
        tokenizer = build_tokenizer(TEXT.split())
        tokenizer.model_max_length = TEXT_LENGTH
        return tokenizer
    if kind is T5TokenizerFast:
        pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in TEXT.split() if len(word) > 1)]
        return T5TokenizerFast(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)
    settings: Mapping[str, Any] = DATA["shared"][config] if isinstance(config, str) else config
    if not issubclass(kind, torch.nn.Module):
        return kind(**settings)
    is_text = hasattr(kind, "config_class")
    with made_on(device, dtype):
        return kind(kind.config_class(**settings)) if is_text else kind(**settings)


@contextmanager
def made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Within: modules are made there and in that precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def counted(work: Callable[[], object]) -> int:
    """The FLOP of what it computes. Attention is spelt out, since the counter does not know every fused kernel."""
    no_autocast = mock.patch("torch.autocast", return_value=nullcontext())  # it does not know the device "meta"
    with no_autocast, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def count(backbone: NetworkBackbone, plan: TuningPlan) -> Flop:
    """Of one row."""
    image = torch.zeros(1, 3, backbone.image_size, backbone.image_size, device=backbone.device)
    z0, text = backbone.encode(image), backbone.encode_text([TEXT])
    pairs, leaf = fixed_pairs(1, backbone.levels, z0.shape[1:]), text.trainable()

    def loss(conditioning: Conditioning) -> Tensor:
        return denoising_loss(backbone, z0, pairs, conditioning).sum()

    with torch.no_grad():
        encode = counted(lambda: (backbone.encode(image), backbone.encode_text([TEXT, ""])))
        decode, forward = counted(lambda: backbone.decode(z0)), counted(lambda: loss(text))
    embedding = counted(lambda: loss(leaf).backward())
    with backbone.tuning(plan):
        network = counted(lambda: loss(text).backward())
    return Flop(encode, decode, forward, embedding, network)


@dataclass(frozen=True)
class Kept:
    """Bytes that the backward pass of one more row needs, in float32: kept by the forward pass, and under gradient
    checkpointing."""

    whole: int
    recomputed: int


def kept(backbone: NetworkBackbone, plan: TuningPlan) -> Kept:
    """Of a model on "meta", in a step of B."""
    side, shared = backbone.image_size, {"device": backbone.device}
    with torch.no_grad():
        z0, text = backbone.encode(torch.zeros(1, 3, side, side, **shared)), backbone.encode_text([TEXT])

    def loss(rows: int) -> Tensor:
        return denoising_loss(backbone, z0, fixed_pairs(rows, backbone.levels, z0.shape[1:]), text).mean()

    def of_a_row() -> int:
        return kept_bytes(lambda: loss(2)) - kept_bytes(lambda: loss(1))

    no_autocast = mock.patch("torch.autocast", return_value=nullcontext())
    fused = mock.patch("torch.nn.functional.scaled_dot_product_attention", _attention)
    with no_autocast, fused, backbone.tuning(plan):
        whole = of_a_row()
        with backbone.recomputing():
            return Kept(whole, of_a_row())


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return _FusedAttention.apply(query, key, value)  # type: ignore[no-any-return]


class _FusedAttention(torch.autograd.Function):
    """Keeps what fused kernels keep: inputs, output and a number per query, but no maps. "meta" has no such kernel."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        made = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, made, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return made

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise NotImplementedError
