"""DiffEdit's mask on predictors with known answers, and its reduction against plain loops."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.conditioning import Conditioning
from imagic.core.noise import Prediction
from imagic.core.options import build_options
from imagic.core.text_mask import MaskOptions, binary, find_masks, mask_noise, relative, text_difference
from tests.core.fakes import Gaussian, text, vp_levels

T = TypeVar("T")
Z0 = torch.zeros(1, 3, 16, 16)
NULL = text(0.0)


def run(steps: Generator[Any, None, T]) -> tuple[list[Any], T]:
    """What a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return seen, stop.value


class Rectangle(Gaussian):
    """Looks at the text in rows 3 to 7 and columns 4 to 13 alone."""

    inside = (slice(None), slice(None), slice(3, 8), slice(4, 14))

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        output = super().predict(z, timestep, text(*[0.3] * len(z)))
        output[self.inside] += conditioning.tensors["sequence"].reshape(-1, 1, 1, 1)
        return output


def find(model: Any, target: float, reference: float, seeds: tuple[int, ...] = (0,), **values: Any) -> Tensor:
    options = build_options(MaskOptions, values)
    return run(find_masks(model, Z0, text(target), text(reference), NULL, seeds, options))[1]


@pytest.mark.parametrize("kind", [Prediction.EPS, Prediction.V, Prediction.X0])
@pytest.mark.parametrize("values", [{}, {"mask_channels": "max"}, {"mask_scaling": "range"}, {"mask_clamp": 3.0}])
def test_a_predictor_that_differs_in_a_rectangle_gives_that_rectangle(kind: Prediction, values: dict[str, Any]) -> None:
    expected = torch.zeros(1, 1, 16, 16)
    expected[Rectangle.inside] = 1
    model = Rectangle(vp_levels(), kind)
    assert torch.equal(find(model, 0.9, 0.2, **values), expected)
    assert torch.equal(find(model, 0.9, 0.2, mask_invert=True, **values), 1 - expected)


def test_a_difference_everywhere_is_all_the_mask_and_stands_out_nowhere_from_a_multiple_of_the_mean() -> None:
    model = Gaussian(vp_levels(), Prediction.EPS)
    assert find(model, 0.9, 0.2).all()
    assert not find(model, 0.9, 0.2, mask_clamp=3.0, mask_threshold=0.5).any()


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_equal_texts_give_an_empty_mask(tiny_backbone: StableDiffusionBackbone, guidance: float) -> None:
    z0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    one, other, null = (tiny_backbone.encode_text([each]) for each in ("a dog", "a dog", ""))
    options = build_options(MaskOptions, {"mask_noises": 5, "mask_batch": 2, "mask_guidance": guidance})
    noise = mask_noise(z0, 0, 5)
    assert not text_difference(tiny_backbone, z0, one, other, null, noise, options).any()
    seen, mask = run(find_masks(tiny_backbone, z0, one, other, null, (0, 1), options))
    assert mask.shape == (2, 1, 8, 8)
    assert not mask.any()
    assert [(each.step, each.total) for each in seen] == [(step, 6) for step in range(1, 7)]


def test_the_difference_is_that_of_the_noise_estimates_at_the_asked_level(v_backbone: StableDiffusionBackbone) -> None:
    """Worked out by hand for a network that predicts v: eps = alpha v + sigma z."""
    z0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    dog, cat, null = (v_backbone.encode_text([each]) for each in ("a dog", "a cat", ""))
    noise = mask_noise(z0, 4, 3)
    found = text_difference(
        v_backbone, z0, dog, cat, null, noise, build_options(MaskOptions, {"mask_strength": 0.7, "mask_guidance": 2.0})
    )
    kept = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[700]
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    for row in range(3):
        z = alpha * z0 + sigma * noise[row]
        with torch.no_grad():
            v = [
                v_backbone.unet(z, torch.tensor(700), encoder_hidden_states=each.tensors["sequence"]).sample
                for each in (dog, cat, null)
            ]
        eps = [alpha * (v[2] + 2 * (each - v[2])) + sigma * z for each in v[:2]]
        torch.testing.assert_close(found[row], (eps[0] - eps[1]).abs()[0], rtol=0, atol=1e-5)


def test_guidance_multiplies_every_difference_and_so_leaves_the_mask(tiny_backbone: StableDiffusionBackbone) -> None:
    """null + w (target - null) - (null + w (reference - null)) = w (target - reference)."""
    z0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    texts = [tiny_backbone.encode_text([each]) for each in ("a dog", "a cat on the grass", "")]
    plain, guided = (
        text_difference(
            tiny_backbone, z0, *texts, mask_noise(z0, 0, 3), build_options(MaskOptions, {"mask_guidance": scale})
        )
        for scale in (1.0, 6.0)
    )
    torch.testing.assert_close(guided, 6 * plain, rtol=1e-3, atol=1e-4)


def test_noises_are_different_and_fewer_are_the_first_of_more() -> None:
    noise = mask_noise(Z0, 7, 6)
    for one, other in itertools.combinations(noise, 2):
        assert (one - other).abs().mean() > 0.9  # 2 / sqrt(pi) for independent normals
    assert torch.equal(mask_noise(Z0, 7, 2), noise[:2])
    assert not torch.equal(mask_noise(Z0, 8, 2), noise[:2])


def test_a_mask_does_not_depend_on_other_seeds_or_on_the_calls(tiny_backbone: StableDiffusionBackbone) -> None:
    z0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    conditionings = [tiny_backbone.encode_text([each]) for each in ("a dog", "a cat on the grass", "")]
    options = build_options(MaskOptions, {"mask_noises": 4, "mask_threshold": 0.5})
    _, both = run(find_masks(tiny_backbone, z0, *conditionings, (3, 9), options))
    _, alone = run(find_masks(tiny_backbone, z0, *conditionings, (9,), options))
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], both[1])
    assert 0 < float(alone.mean()) < 1


def plainly(differences: Any, channels: str, clamp: float, scaling: str) -> Any:
    """The reduction as loops over pixels."""
    count, depth, height, width = differences.shape
    found = np.zeros((height, width))
    for y, x in itertools.product(range(height), range(width)):
        means = [sum(differences[i, c, y, x] for i in range(count)) / count for c in range(depth)]
        found[y, x] = {
            "mean": sum(means) / depth,
            "max": max(means),
            "norm": sum(m**2 for m in means) ** 0.5,
        }[channels]
    highest = clamp * found.mean() if clamp else found.max()
    found = np.minimum(found, highest)
    if scaling == "range":
        return (found - found.min()) / (found.max() - found.min())
    return found / highest


@pytest.mark.parametrize("channels", ["mean", "max", "norm"])
@pytest.mark.parametrize("clamp", [0.0, 1.2, 3.0])
@pytest.mark.parametrize("scaling", ["clamp", "range"])
def test_the_reduction_equals_plain_loops(channels: str, clamp: float, scaling: str) -> None:
    differences = torch.rand(3, 4, 6, 5, generator=torch.Generator().manual_seed(0)) ** 6
    values = {"mask_channels": channels, "mask_clamp": clamp, "mask_scaling": scaling}
    found = relative(differences, build_options(MaskOptions, values))
    expected = plainly(differences.double().numpy(), channels, clamp, scaling)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-5)
    assert found.shape == (1, 1, 6, 5)
    assert float(found.max()) <= 1


@pytest.mark.parametrize("values", [{}, {"mask_clamp": 3.0}, {"mask_scaling": "range"}])
def test_no_difference_is_an_empty_map_and_never_a_division_by_zero(values: dict[str, Any]) -> None:
    found = relative(torch.zeros(2, 3, 4, 4), build_options(MaskOptions, values))
    assert torch.equal(found, torch.zeros(1, 1, 4, 4))
    assert not binary(found, 0.0).any()


def test_a_threshold_is_exceeded_and_not_met() -> None:
    found = torch.tensor([[0.0, 0.5, 0.500001, 1.0]])
    assert binary(found, 0.5).tolist() == [[0, 0, 1, 1]]


def test_a_feather_softens_the_found_mask_inwards() -> None:
    model = Rectangle(vp_levels(), Prediction.EPS)
    hard, soft = find(model, 0.9, 0.2), find(model, 0.9, 0.2, mask_feather=0.15)
    assert (soft[hard == 0] == 0).all()
    assert soft[0, 0, 5].tolist() == pytest.approx([0] * 4 + [0.5] + [1] * 8 + [0.5] + [0] * 2)
