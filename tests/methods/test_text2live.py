"""Text2LIVE: its losses against closed forms, its layer where the answer is known, and cases with exact answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.checkpoint import Checkpoint
from imagic.core.errors import NotAvailable, OptionError, StateError, TextError
from imagic.core.options import build_options
from imagic.core.types import FitRequest, State
from imagic.methods import _text2live_losses as losses
from imagic.methods import text2live
from imagic.methods._edit_layer import LayerGenerator
from imagic.methods.text2live import Text2LIVE, Text2LIVEFit
from tests.methods.conftest import finish
from tests.methods.running import edit, fit
from tests.metrics.tiny import clip_folder

COLOURS = {"red": (1.0, -1.0, -1.0), "blue": (-1.0, -1.0, 1.0), "grey": (0.0, 0.0, 0.0)}
HALF = slice(0, 16)


class Colours:
    """Sees the mean colour of a picture, and knows the colours' names; the left half is what a text is about."""

    name = "colours"

    def embed_images(self, images: Tensor) -> Tensor:
        return self._embedded(images.mean((2, 3)))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self._embedded(torch.tensor([COLOURS[text.split()[0]] for text in texts]))

    def tokens(self, images: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images, 8).flatten(2).transpose(1, 2) + 2

    def relevance(self, image: Tensor, text: str) -> Tensor:
        region = torch.zeros_like(image[:, :1])
        region[..., HALF] = 1
        return region

    @staticmethod
    def _embedded(colours: Tensor) -> Tensor:
        return normalize(torch.cat([colours, torch.ones(len(colours), 1)], dim=1), dim=1)


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text2live, "open_encoder", lambda name, device: Colours())


@pytest.fixture
def grey_to_red() -> FitRequest:
    image = 0.2 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.1
    return FitRequest(image, "red", "grey", seed=3)


FEW: dict[str, Any] = {"num_steps": 3, "views": 2, "width": 4, "scales": 2, "encoder": "colours"}


def test_without_opacity_the_image_is_what_it_was() -> None:
    image = torch.rand(2, 3, 8, 8) * 2 - 1
    layer = torch.rand(2, 3, 8, 8) * 2 - 1
    assert torch.equal(losses.composite(image, layer, torch.zeros(2, 1, 8, 8)), image)
    torch.testing.assert_close(losses.composite(image, layer, torch.ones(2, 1, 8, 8)), layer)
    opacity = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(losses.composite(image, layer, opacity), opacity * layer + (1 - opacity) * image)
    green = torch.tensor([0.0, 177.0, 64.0]) / 127.5 - 1
    assert torch.allclose(
        losses.on_screen(layer, torch.zeros(2, 1, 8, 8)), green.reshape(1, 3, 1, 1).expand(2, 3, 8, 8)
    )


def test_losses_are_what_they_are_called() -> None:
    right = normalize(torch.tensor([[1.0, 0.0, 1.0]]), dim=1)
    other = normalize(torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), dim=1)
    assert float(losses.distance(right, right)) == pytest.approx(0, abs=1e-6)
    assert float(losses.distance(other, right)) == pytest.approx(1, abs=1e-6)
    a, b, c = torch.eye(3).split(1)
    wanted = losses.Wanted(target=b, screen=c, source=a)
    assert float(losses.direction(a, b, wanted)) == pytest.approx(0, abs=1e-6)
    assert float(losses.direction(b, a, wanted)) == pytest.approx(2, abs=1e-6)
    assert float(losses.direction(a, c, wanted)) == pytest.approx(0.5, abs=1e-6)  # 60 degrees
    # Two patches alike before and at right angles after: 0 against 1 off the diagonal, half of the four entries.
    alike, apart = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    assert float(losses.structure(alike, apart)) == pytest.approx(0.5)
    assert float(losses.structure(alike, 5 * alike)) == pytest.approx(0, abs=1e-6)
    opacity = torch.full((1, 1, 4, 4), 0.4)
    smooth = 2 / (1 + math.exp(-2.0)) - 1
    assert float(losses.sparsity(opacity, 0.5, 0.25)) == pytest.approx(0.5 * 0.4 + 0.25 * smooth)


def test_views_are_crops_common_to_what_belongs_together() -> None:
    """Two gradients tell where each pixel came from: within the picture, and the same in both images."""
    ramp = (torch.arange(32) + 0.5) / 16 - 1
    first = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32)])
    images = torch.stack([first, first + 10])
    found = losses.views(images, 50, 0.5, 0.5, torch.Generator().manual_seed(0)).unflatten(0, (50, 2))
    torch.testing.assert_close(found[:, 1], found[:, 0] + 10, rtol=0, atol=1e-4)
    x, y = found[:, 0, 0], found[:, 0, 1]
    width, height = x[:, 16, -1] - x[:, 16, 0], y[:, -1, 16] - y[:, 0, 16]
    torch.testing.assert_close(width.abs(), height, rtol=0, atol=0.05)  # square
    assert 10 < int((width < 0).sum()) < 40  # about half of them mirrored
    assert float(height.min()) >= 0.45 * 2 * 31 / 32
    assert 1.5 < float(height.max()) <= 2
    whole = losses.views(images, 1, 1.0, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(whole, images, rtol=0, atol=1e-4)


def test_the_generator_gives_a_layer_of_the_pictures_size() -> None:
    for shape, width, scales in (((32, 32), 8, 3), ((24, 40), 4, 7), ((16, 16), 4, 1)):
        layer, opacity = LayerGenerator(width, scales)(torch.rand(2, 3, *shape))
        assert (layer.shape, opacity.shape) == ((2, 3, *shape), (2, 1, *shape))
        assert float(layer.detach().abs().max()) <= 1
        assert 0 <= float(opacity.detach().min()) <= float(opacity.detach().max()) <= 1
    paper = sum(p.numel() for p in LayerGenerator(128, 7).parameters())
    assert 2.5e6 < paper < 3.5e6  # the paper says about 3 million


@pytest.mark.usefixtures("colours")
def test_a_grey_picture_becomes_red_where_the_text_looks(
    eps_backbone: StableDiffusionBackbone, grey_to_red: FitRequest
) -> None:
    state = fit(
        Text2LIVE(), eps_backbone, grey_to_red, encoder="colours", num_steps=120, views=2, width=8, scales=3,
        structure_weight=0.0, screen_text="{}", decay=1.0, learning_rate=5e-3,
    )  # fmt: skip
    result = edit(Text2LIVE(), eps_backbone, state, (0,))
    before, after = Colours().embed_images(grey_to_red.image), Colours().embed_images(result.chosen[0].image[None])
    red = Colours().embed_texts(["red"])
    assert float((after * red).sum()) > float((before * red).sum()) + 0.15
    opacity = state.tensors["opacity"]
    assert float(opacity[..., HALF].mean()) > float(opacity[..., 16:].mean()) + 0.2
    assert torch.equal(result.reconstruction, grey_to_red.image[0])


@pytest.mark.usefixtures("colours")
def test_each_weight_moves_the_result_its_way(eps_backbone: StableDiffusionBackbone, grey_to_red: FitRequest) -> None:
    def opacity(**values: float) -> float:
        chosen = {**FEW, "num_steps": 30, "region_weight": 0.0, "screen_text": "{}", **values}
        return float(fit(Text2LIVE(), eps_backbone, grey_to_red, **chosen).tensors["opacity"].mean())

    usual = opacity()
    assert opacity(sparsity_weight=1000.0) < usual - 0.05
    assert opacity(composition_weight=0.0, screen_weight=0.0, structure_weight=0.0) < usual


@pytest.mark.usefixtures("colours")
def test_the_strength_is_the_layers_opacity(eps_backbone: StableDiffusionBackbone, grey_to_red: FitRequest) -> None:
    state = fit(Text2LIVE(), eps_backbone, grey_to_red, **FEW)
    result = edit(Text2LIVE(), eps_backbone, state, (0, 1), strengths=[0.0, 0.5, 1.0])
    assert [(each.seed, each.strength) for each in result.chosen] == [(s, r) for s in (0, 1) for r in (0.0, 0.5, 1.0)]
    none, half, whole = (each.image for each in result.chosen[:3])
    assert torch.equal(none, grey_to_red.image[0])
    torch.testing.assert_close(half, (none + whole) / 2)
    layer, opacity = state.tensors["layer"][0], state.tensors["opacity"][0]
    torch.testing.assert_close(whole, opacity * layer + (1 - opacity) * none)
    transparent = replace(state, tensors={**state.tensors, "opacity": torch.zeros_like(state.tensors["opacity"])})
    assert torch.equal(edit(Text2LIVE(), eps_backbone, transparent).chosen[0].image, grey_to_red.image[0])


@pytest.mark.usefixtures("colours")
def test_a_seed_means_one_layer_and_leaves_the_global_generator(
    eps_backbone: StableDiffusionBackbone, grey_to_red: FitRequest
) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = fit(Text2LIVE(), eps_backbone, grey_to_red, **FEW)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    again = fit(Text2LIVE(), eps_backbone, grey_to_red, **FEW)
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    other = fit(Text2LIVE(), eps_backbone, replace(grey_to_red, seed=4), **FEW)
    assert not torch.equal(first.tensors["layer"], other.tensors["layer"])


@pytest.mark.usefixtures("colours")
def test_ended_after_any_step_it_goes_on_with_the_same_numbers(
    eps_backbone: StableDiffusionBackbone, grey_to_red: FitRequest, tmp_path: Path
) -> None:
    whole = fit(Text2LIVE(), eps_backbone, grey_to_red, **FEW)
    options = build_options(Text2LIVEFit, FEW)
    for kill in (1, 2, 3):
        path = tmp_path / f"{kill}.checkpoint.safetensors"

        def kept(path: Path = path) -> FitRequest:
            return replace(grey_to_red, checkpoint=Checkpoint(path, "k", seconds=0, clock=lambda: 0.0))

        loop = Text2LIVE().fit(eps_backbone, kept(), options)
        assert len(list(itertools.islice(loop, kill))) == kill
        loop.close()
        rest, again = finish(Text2LIVE().fit(eps_backbone, kept(), options))
        assert [progress.step for progress in rest] == list(range(kill + 1, 4))
        assert all(torch.equal(again.tensors[name], whole.tensors[name]) for name in whole.tensors)


def test_it_works_over_any_clip_of_transformers(
    eps_backbone: StableDiffusionBackbone, request_to_sit: FitRequest, tmp_path: Path
) -> None:
    clip_folder(tmp_path)
    request = replace(request_to_sit, source_text="a standing dog")
    state = fit(Text2LIVE(), eps_backbone, request, **{**FEW, "encoder": str(tmp_path)})
    image = edit(Text2LIVE(), eps_backbone, state).chosen[0].image
    assert image.shape == (3, 16, 16)
    assert float((image - request.image[0]).abs().max()) > 0.05


@pytest.mark.usefixtures("colours")
def test_what_it_cannot_use_is_refused(eps_backbone: StableDiffusionBackbone, grey_to_red: FitRequest) -> None:
    with pytest.raises(TextError, match="source text"):
        fit(Text2LIVE(), eps_backbone, replace(grey_to_red, source_text=""), **FEW)
    with pytest.raises(OptionError, match="multiple of 4"):
        build_options(Text2LIVEFit, {"width": 6})
    with pytest.raises(OptionError, match="no other braces"):
        fit(Text2LIVE(), eps_backbone, grey_to_red, **FEW, screen_text="{} over {}")
    with pytest.raises(OptionError, match="diverged at step"):
        fit(Text2LIVE(), eps_backbone, replace(grey_to_red, image=grey_to_red.image * float("nan")), **FEW)
    state = fit(Text2LIVE(), eps_backbone, grey_to_red, **FEW)
    for name in ("image", "layer", "opacity"):
        less = {key: value for key, value in state.tensors.items() if key != name}
        with pytest.raises(StateError, match=name):
            edit(Text2LIVE(), eps_backbone, State(state.method, less, state.facts))


def test_without_an_encoder_it_says_so_before_any_work(
    eps_backbone: StableDiffusionBackbone, grey_to_red: FitRequest
) -> None:
    with pytest.raises(NotAvailable, match="no folder 'nowhere'"):
        next(Text2LIVE().fit(eps_backbone, grey_to_red, Text2LIVEFit(encoder="nowhere")))


def test_the_rate_falls_to_its_floor() -> None:
    options = Text2LIVEFit()
    assert options.rate(0) == 2.5e-3
    assert options.rate(100) == pytest.approx(2.5e-3 * 0.99**100)
    assert options.rate(2000) == 1e-5
    assert Text2LIVEFit(learning_rate=1e-6).rate(5) == 1e-6
