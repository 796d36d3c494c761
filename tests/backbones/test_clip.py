"""The encoder over CLIP: transformers' own embeddings, gradients that reach the picture, and where a picture is looked
at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPModel

from imagic.backbones import clip
from imagic.backbones.clip import CLIPEncoder
from imagic.core.encoder import open_encoder
from imagic.core.errors import NotAvailable
from imagic.core.images import to_rgb
from tests.conftest import TEXT_LENGTH
from tests.metrics.tiny import MEAN, SIDE, STD, clip_folder, vit_folder

CPU = torch.device("cpu")
TEXTS = ["a photo of a dog sitting on the grass", "a cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    clip_folder(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> CLIPEncoder:
    opened = open_encoder(str(folder), CPU)
    assert isinstance(opened, CLIPEncoder)
    return opened


@pytest.fixture(scope="module")
def model(folder: Path) -> CLIPModel:
    """As transformers loads it, with attention of another kind."""
    return CLIPModel.from_pretrained(folder, attn_implementation="sdpa").eval()


def pictures(count: int = 2, side: int = SIDE) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def normalised(images: Tensor) -> Tensor:
    return ((images + 1) / 2 - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def test_embeddings_are_those_of_clip(encoder: CLIPEncoder, model: CLIPModel) -> None:
    images = pictures()
    tokens = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens, pixel_values=normalised(images))
        last = model.vision_model(normalised(images)).last_hidden_state
    torch.testing.assert_close(encoder.embed_images(images), expected.image_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.embed_texts(TEXTS), expected.text_embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.tokens(images), last[:, 1:], rtol=0, atol=1e-4)
    long = encoder.embed_texts([" ".join(TEXTS[:1] * 4)])
    cut = encoder.tokenizer(" ".join(TEXTS[:1] * 4), truncation=True, max_length=TEXT_LENGTH, return_tensors="pt")
    with torch.no_grad():
        known = model(**cut, pixel_values=normalised(images)).text_embeds
    torch.testing.assert_close(long, known, rtol=0, atol=1e-5)


def test_another_size_is_resized_as_pillow_does(encoder: CLIPEncoder) -> None:
    """Pillow's bicubic filter works on 8 bits, ours on floats: a level or two apart, where neither leaves the range."""
    smooth = 0.8 * torch.nn.functional.interpolate(pictures(1, 5), (40, 40), mode="bicubic").clamp(-1, 1)
    small = Image.fromarray(to_rgb(smooth[0])).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    levels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(SIDE, SIDE, 3).permute(2, 0, 1)
    resized = encoder._pixels(smooth)[0] * torch.tensor(STD).reshape(3, 1, 1) + torch.tensor(MEAN).reshape(3, 1, 1)
    assert float((resized * 255 - levels).abs().max()) < 2.5


def test_gradients_reach_the_picture_and_nothing_else(encoder: CLIPEncoder) -> None:
    images = pictures().requires_grad_(True)
    wanted = encoder.embed_texts(TEXTS)
    loss = (encoder.embed_images(images) * wanted).sum() + encoder.tokens(images).square().mean()
    loss.backward()
    assert images.grad is not None
    # Along the gradient the loss grows as the gradient says.
    step = 1e-3 * images.grad / images.grad.norm()
    with torch.no_grad():
        ends = [
            (encoder.embed_images(each) * wanted).sum() + encoder.tokens(each).square().mean()
            for each in (images + step, images - step)
        ]
    assert float(ends[0] - ends[1]) == pytest.approx(2e-3 * float(images.grad.norm()), rel=0.02)
    assert not any(p.requires_grad or p.grad is not None for p in encoder.model.parameters())


def test_the_relevance_is_gradient_times_attention_of_the_last_layer(encoder: CLIPEncoder, model: CLIPModel) -> None:
    """The attention by hand from the last layer's own projections, and its gradient by finite differences."""
    image = pictures(1)
    found = encoder.relevance(image, TEXTS[0])
    assert found.shape == (1, 1, SIDE, SIDE)
    layer = model.vision_model.encoder.layers[-1]
    heads = layer.self_attn.num_heads
    with torch.no_grad():
        before = model.vision_model(normalised(image), output_hidden_states=True).hidden_states[-2]
        inside = layer.layer_norm1(before)
        size = inside.shape[-1] // heads

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (heads, size)).transpose(1, 2)

        q, k, v = (
            split(part(inside)) for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
        )
        maps = (q @ k.transpose(-1, -2) / size**0.5).softmax(-1)
        wanted = encoder.embed_texts(TEXTS[:1])

        def cosine(maps: Tensor) -> Tensor:
            x = before + layer.self_attn.out_proj((maps.double() @ v.double()).float().transpose(1, 2).flatten(2))
            x = x + layer.mlp(layer.layer_norm2(x))
            embedded = model.visual_projection(model.vision_model.post_layernorm(x[:, 0]))
            return (torch.nn.functional.normalize(embedded, dim=1) * wanted).sum()

        gradient = torch.zeros_like(maps)
        for head in range(heads):
            for patch in range(1, maps.shape[-1]):
                nudge = torch.zeros_like(maps)
                nudge[0, head, 0, patch] = 1e-2
                gradient[0, head, 0, patch] = (cosine(maps + nudge) - cosine(maps - nudge)) / 2e-2
        looks = (gradient * maps).clamp(min=0).mean(1)[0, 0, 1:].reshape(1, 1, 2, 2)
    expected = (looks - looks.min()) / (looks.max() - looks.min())
    # The middles of the four patches keep their values when the map is enlarged.
    smaller = torch.nn.functional.interpolate(expected, (SIDE, SIDE), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, smaller, rtol=0, atol=0.03)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float(found.max() - found.min()) > 0.5


def test_without_an_encoder_it_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("imagic.core.encoder.BUNDLED_FOLDER", tmp_path / "nothing")
    clip._read.cache_clear()
    with pytest.raises(NotAvailable, match="has no bundled CLIP: give a folder"):
        open_encoder("menagerie", CPU)
    with pytest.raises(NotAvailable, match="no folder 'somewhere'"):
        open_encoder("somewhere", CPU)
    vit_folder(tmp_path)
    with pytest.raises(NotAvailable, match="could not be loaded as a CLIPModel"):
        open_encoder(str(tmp_path), CPU)
    monkeypatch.setattr("imagic.core.encoder.BUNDLED_FOLDER", folder)
    assert open_encoder("menagerie", CPU).name == "menagerie"
    clip._read.cache_clear()
