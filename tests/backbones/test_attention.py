"""Attention in the open: equal to diffusers' own processors while nothing is changed, and changed as asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core import seeds
from imagic.core.conditioning import Conditioning
from imagic.core.errors import AbilityError
from imagic.core.types import AttentionControl, AttentionLayer, Backbone
from tests.conftest import TEXT_LENGTH, MakeBackbone, MakePipeline
from tests.methods.fakes import Answers
from tests.methods.plain_attention import sharpen

TEXTS = ("a photo of a sitting dog", "a cat")
BLOCKS = (
    "down_blocks.1.attentions.0",
    "mid_block.attentions.0",
    "up_blocks.0.attentions.0",
    "up_blocks.0.attentions.1",
)


class Watch(AttentionControl):
    """Keeps what it sees, and answers with `change` of it."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda maps: maps, wanted: bool = True) -> None:
        self.change, self.wanted = change, wanted
        self.seen: list[tuple[AttentionLayer, Tensor]] = []

    def wants(self, layer: AttentionLayer) -> bool:
        return self.wanted

    def __call__(self, layer: AttentionLayer, maps: Tensor) -> Tensor:
        self.seen.append((layer, maps.detach()))
        return self.change(maps)


def inputs(backbone: Backbone, height: int = 8, width: int = 8) -> tuple[Tensor, Tensor, Conditioning]:
    z = seeds.initial_noise((4, height, width), [0, 1])
    return z, torch.tensor([100, 700]), backbone.encode_text(TEXTS)


@pytest.mark.parametrize("size", [(8, 8), (12, 8)])
def test_unchanged_maps_give_what_diffusers_gives(
    tiny_backbone: StableDiffusionBackbone, size: tuple[int, int]
) -> None:
    sharpen(tiny_backbone.unet)
    watch = Watch()
    with torch.no_grad():
        expected = tiny_backbone.predict(*inputs(tiny_backbone, *size))
        with tiny_backbone.attention(watch):
            ours = tiny_backbone.predict(*inputs(tiny_backbone, *size))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    grid = (size[0] // 2, size[1] // 2)
    assert [(layer.name.rsplit(".transformer", 1)[0], layer.cross, layer.size) for layer, _ in watch.seen] == [
        (block, cross, grid) for block in BLOCKS for cross in (False, True)
    ]
    assert len({layer.name for layer, _ in watch.seen}) == len(watch.seen)
    for layer, maps in watch.seen:
        queries = grid[0] * grid[1]
        assert maps.shape == (2, 4, queries, TEXT_LENGTH if layer.cross else queries)
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
        assert float(maps.std()) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(make_pipeline: MakePipeline, dtype: torch.dtype) -> None:
    backbone = StableDiffusionBackbone.from_pipeline(make_pipeline(), name="tiny", dtype=dtype)
    watch = Watch()
    with torch.no_grad():
        expected = backbone.predict(*inputs(backbone))
        with backbone.attention(watch):
            ours = backbone.predict(*inputs(backbone))
    torch.testing.assert_close(ours, expected, rtol=0, atol=0.02)
    assert all(maps.dtype == torch.float32 for _, maps in watch.seen)


def test_changed_maps_are_the_ones_used(eps_backbone: StableDiffusionBackbone) -> None:
    """Uniform maps give every query the mean of the values, whatever the scores."""
    sharpen(eps_backbone.unet)
    layer = eps_backbone.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    outputs: list[Tensor] = []
    layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    z, t, text = inputs(eps_backbone)
    with torch.no_grad(), eps_backbone.attention(Watch(lambda maps: torch.full_like(maps, 1 / maps.shape[-1]))):
        eps_backbone.predict(z, t, text)
        mean = layer.to_out[0](layer.to_v(text.tensors["sequence"]).mean(1, keepdim=True))
    torch.testing.assert_close(outputs[0], mean.expand_as(outputs[0]), rtol=0, atol=1e-5)


def test_a_mask_over_the_text_is_kept(eps_backbone: StableDiffusionBackbone) -> None:
    sharpen(eps_backbone.unet)
    z, t, text = inputs(eps_backbone)
    mask = torch.arange(TEXT_LENGTH)[None] < torch.tensor([[8], [4]])
    watch = Watch()

    def run() -> Tensor:
        with torch.no_grad():
            output: Tensor = eps_backbone.unet(z, t, text.tensors["sequence"], encoder_attention_mask=mask).sample
        return output

    expected, unmasked = run(), eps_backbone.predict(z, t, text)
    with eps_backbone.attention(watch):
        torch.testing.assert_close(run(), expected, rtol=0, atol=1e-5)
    assert (expected - unmasked).abs().max() > 1e-3
    for layer, maps in watch.seen:
        if layer.cross:
            assert maps[1, :, :, 4:].max() == 0


def test_layers_that_are_not_wanted_run_as_always(eps_backbone: StableDiffusionBackbone) -> None:
    watch = Watch(wanted=False)
    with torch.no_grad():
        expected = eps_backbone.predict(*inputs(eps_backbone))
        with eps_backbone.attention(watch):
            assert torch.equal(eps_backbone.predict(*inputs(eps_backbone)), expected)
    assert watch.seen == []


def test_gradients_pass_through_the_maps(eps_backbone: StableDiffusionBackbone) -> None:
    sharpen(eps_backbone.unet)

    def gradient() -> Tensor:
        z, t, text = inputs(eps_backbone)
        leaf = text.trainable()
        eps_backbone.predict(z, t, leaf).square().sum().backward()
        found = leaf.tensors["sequence"].grad
        assert found is not None
        return found

    expected = gradient()
    with eps_backbone.attention(Watch()):
        ours = gradient()
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_the_network_is_as_before_whatever_happens(eps_backbone: StableDiffusionBackbone) -> None:
    processors = dict(eps_backbone.unet.attn_processors)
    outer, inner = Watch(), Watch()
    with eps_backbone.attention(outer):
        with eps_backbone.attention(inner):
            eps_backbone.predict(*inputs(eps_backbone))
        assert (len(inner.seen), len(outer.seen)) == (8, 0)
        eps_backbone.predict(*inputs(eps_backbone))
        assert (len(inner.seen), len(outer.seen)) == (8, 8)
    with pytest.raises(RuntimeError, match="stop"), eps_backbone.attention(outer):
        raise RuntimeError("stop")
    assert all(eps_backbone.unet.attn_processors[name] is processor for name, processor in processors.items())
    assert not eps_backbone.unet._forward_pre_hooks
    eps_backbone.predict(*inputs(eps_backbone))
    assert len(outer.seen) == 8


def test_tokens_stand_where_the_text_encoder_has_them(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone()
    text = "A  photo of zoo, sitting"
    tokens = backbone.tokens(text)
    ids = backbone.tokenizer(text, padding="max_length", max_length=TEXT_LENGTH)["input_ids"]
    assert len(tokens) == TEXT_LENGTH == backbone.encode_text([text]).tensors["sequence"].shape[1]
    assert [token.piece for token in tokens] == backbone.tokenizer.convert_ids_to_tokens(ids)
    written = ["", "A", "photo", "of", "z", "o", "o", ",", "sitting", "", "", ""]
    assert [text[token.start : token.end] for token in tokens] == written


def test_a_long_text_is_cut_as_the_text_encoder_cuts_it(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone()
    text = " ".join(["dog"] * 9 + ["cat", "grass"])
    tokens = backbone.tokens(text)
    assert [text[token.start : token.end] for token in tokens] == ["", *["dog"] * 9, "cat", ""]
    assert backbone.report_text(text).cut == "grass"


def test_a_family_without_maps_says_so() -> None:
    with pytest.raises(AbilityError, match=r"'answers' does not show its attention: choose"):
        Answers().attention(Watch())
    with pytest.raises(AbilityError, match=r"'answers' does not tell its tokens: choose"):
        Answers().tokens("a dog")
