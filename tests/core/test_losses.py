"""The loss against diffusers' training recipe, the pairs against their distribution, the judge against Bayes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler

from imagic.core import seeds
from imagic.core.losses import Pairs, denoising_loss, fixed_pairs, stratified_pairs, text_agreement
from imagic.core.noise import NoiseLevels, Prediction
from tests.core.fakes import Gaussian, text, vp_levels

SHAPE = (4, 8, 8)


@pytest.mark.parametrize("kind", [Prediction.EPS, Prediction.V, Prediction.X0])
def test_loss_equals_the_diffusers_training_recipe(kind: Prediction) -> None:
    denoiser = Gaussian(vp_levels(), kind)
    pairs = stratified_pairs(6, denoiser.levels, SHAPE, seeds.generator(0))
    z0, conditioning = seeds.initial_noise(SHAPE, range(6)), text(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    noisy = scheduler.add_noise(z0, pairs.eps, pairs.index)
    target = {
        Prediction.EPS: pairs.eps,
        Prediction.V: scheduler.get_velocity(z0, pairs.eps, pairs.index),
        Prediction.X0: z0,
    }[kind]
    expected = F.mse_loss(denoiser.predict(noisy, pairs.index, conditioning), target, reduction="none").mean((1, 2, 3))
    loss = denoising_loss(denoiser, z0, pairs, conditioning)
    assert loss.shape == (6,)
    assert torch.allclose(loss, expected, rtol=1e-3, atol=1e-6)


def test_the_exact_denoiser_has_the_posterior_variance_as_its_loss() -> None:
    """For x0 ~ N(m, s^2) and an x0 prediction: E || x0 - E[x0|z] ||^2 = s^2 sigma^2 / (alpha^2 s^2 + sigma^2)."""
    levels = vp_levels()
    index = torch.tensor([100, 500, 900])
    z0 = 0.3 + 0.5 * seeds.initial_noise((4, 64, 64), [1, 2, 3])
    pairs = Pairs(index, seeds.initial_noise((4, 64, 64), [4, 5, 6]))
    loss = denoising_loss(Gaussian(levels, Prediction.X0), z0, pairs, text(0.3))
    level = levels[index]
    expected = 0.25 * level.sigma**2 / (0.25 * level.alpha**2 + level.sigma**2)
    assert torch.allclose(loss.double(), expected, rtol=0.05)


def test_one_latent_and_one_text_serve_all_pairs_and_gradients_flow() -> None:
    denoiser = Gaussian(vp_levels(), Prediction.EPS)
    pairs = stratified_pairs(5, denoiser.levels, SHAPE, seeds.generator(0))
    z0, conditioning = seeds.initial_noise(SHAPE, [1]), text(0.2).trainable()
    loss = denoising_loss(denoiser, z0, pairs, conditioning)
    for i in range(5):
        alone = denoising_loss(denoiser, z0, pairs[i : i + 1], conditioning)
        assert torch.allclose(loss[i], alone[0], atol=1e-6)
    loss.mean().backward()
    assert conditioning.tensors["sequence"].grad is not None


@pytest.mark.parametrize("num", [1, 7, 64, 1000])
def test_each_stratum_holds_one_level(num: int) -> None:
    pairs = stratified_pairs(num, vp_levels(), SHAPE, seeds.generator(3))
    assert pairs.eps.shape == (num, *SHAPE)
    edges = torch.arange(num + 1) * (1000 / num)
    assert (pairs.index >= edges[:-1].floor()).all()
    assert (pairs.index < edges[1:].ceil()).all()


def test_levels_are_uniform_and_noises_standard() -> None:
    generator = seeds.generator(5)
    drawn = [stratified_pairs(3, vp_levels(10), (2, 2, 2), generator) for _ in range(4000)]
    counts = torch.bincount(torch.cat([pairs.index for pairs in drawn]), minlength=10)
    assert len(counts) == 10
    assert ((counts - 1200).abs() < 130).all()  # 4 standard deviations of a count of 1200
    eps = torch.cat([pairs.eps for pairs in drawn])
    assert abs(float(eps.mean())) < 0.02
    assert abs(float(eps.std()) - 1) < 0.02


def test_levels_follow_their_density_in_strata() -> None:
    levels, share = vp_levels(4), torch.tensor([0.5, 0.0, 0.125, 0.375], dtype=torch.float64)
    dense = NoiseLevels(levels.alpha, levels.sigma, levels.timestep, share)
    for seed in range(20):
        pairs = stratified_pairs(8, dense, SHAPE, seeds.generator(seed))
        assert torch.bincount(pairs.index, minlength=4).tolist() == [4, 0, 1, 3]
    drawn = torch.cat([stratified_pairs(1, dense, (1, 1, 1), seeds.generator(seed)).index for seed in range(4000)])
    assert torch.allclose(torch.bincount(drawn, minlength=4) / 4000, share.float(), atol=0.032)  # 4 deviations


def test_an_even_density_draws_the_levels_of_none() -> None:
    levels = vp_levels()
    even = NoiseLevels(levels.alpha, levels.sigma, levels.timestep, torch.full((1000,), 1e-3, dtype=torch.float64))
    for seed in range(5):
        index, plain = (stratified_pairs(64, each, SHAPE, seeds.generator(seed)).index for each in (even, levels))
        assert (index - plain).abs().max() <= 1  # rounding of the cumulative sum


def test_fixed_pairs_depend_on_the_seed_alone() -> None:
    first, again = (fixed_pairs(8, vp_levels(), SHAPE, seed=1) for _ in range(2))
    other = fixed_pairs(8, vp_levels(), SHAPE, seed=2)
    assert torch.equal(first.eps, again.eps)
    assert torch.equal(first.index, again.index)
    assert not torch.equal(first.eps, other.eps)


@pytest.mark.parametrize("kind", [Prediction.EPS, Prediction.V])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_text_agreement_equals_its_definition_in_any_batches(kind: Prediction, batch_size: int) -> None:
    denoiser = Gaussian(vp_levels(), kind)
    pairs = fixed_pairs(6, denoiser.levels, SHAPE)
    z0 = seeds.initial_noise(SHAPE, [0, 1, 2])
    score = text_agreement(denoiser, z0, text(0.8), text(0.0), pairs, batch_size=batch_size)
    for i in range(3):
        under = [denoising_loss(denoiser, z0[i : i + 1], pairs, text(mean)).mean() for mean in (0.0, 0.8)]
        assert float(score[i]) == pytest.approx(1000 * float(under[0] - under[1]), rel=1e-3, abs=1e-2)


def test_text_agreement_prefers_the_image_that_the_text_describes() -> None:
    """Images of the target's mean gain from the target text, images of the empty text's mean lose by it."""
    denoiser = Gaussian(vp_levels(), Prediction.EPS)
    noise = 0.5 * seeds.initial_noise(SHAPE, [1])
    z0 = torch.cat([0.8 + noise, 0.4 + noise, noise])
    score = text_agreement(denoiser, z0, text(0.8), text(0.0), fixed_pairs(64, denoiser.levels, SHAPE))
    assert score[0] > 0 > score[2]
    assert score[0] > score[1] > score[2]


def test_text_agreement_of_equal_texts_is_zero() -> None:
    denoiser = Gaussian(vp_levels(), Prediction.V)
    z0 = seeds.initial_noise(SHAPE, [0, 1])
    score = text_agreement(denoiser, z0, text(0.2), text(0.2), fixed_pairs(4, denoiser.levels, SHAPE))
    assert torch.equal(score, torch.zeros(2))
