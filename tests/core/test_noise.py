"""The one equation, against diffusers and against itself."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from imagic.core.noise import Bound, NoiseLevels, Prediction, add_noise, to_x0_eps, training_target
from tests.core.fakes import flow_levels, vp_levels


@pytest.fixture
def scheduler() -> DDIMScheduler:
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def test_add_noise_and_velocity_equal_diffusers(scheduler: DDIMScheduler) -> None:
    z0, eps = torch.randn(2, 5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 10, 300, 700, 999])
    level = vp_levels()[t]
    assert torch.allclose(add_noise(z0, eps, level.alpha, level.sigma), scheduler.add_noise(z0, eps, t), atol=1e-5)
    target = training_target(z0, eps, level.alpha, level.sigma, Prediction.V)
    assert torch.allclose(target, scheduler.get_velocity(z0, eps, t), atol=1e-5)


@pytest.mark.parametrize("kind", list(Prediction))
@pytest.mark.parametrize("levels", [vp_levels()[torch.tensor([5, 500, 999])], flow_levels(4)[1:4]], ids=["vp", "flow"])
def test_the_training_target_gives_back_the_clean_latent_and_the_noise(kind: Prediction, levels: NoiseLevels) -> None:
    z0, eps = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    z = add_noise(z0, eps, levels.alpha, levels.sigma)
    output = training_target(z0, eps, levels.alpha, levels.sigma, kind)
    x0_hat, eps_hat = to_x0_eps(output, z, levels.alpha, levels.sigma, kind)
    assert torch.allclose(x0_hat, z0, atol=1e-4)
    assert torch.allclose(eps_hat, eps, atol=1e-4)


def test_levels_must_be_vectors_of_one_length() -> None:
    with pytest.raises(ValueError):
        NoiseLevels(torch.ones(3), torch.ones(2), torch.ones(3))


def test_a_density_has_one_share_for_each_level() -> None:
    levels, share = vp_levels(10), torch.full((10,), 0.1, dtype=torch.float64)
    with pytest.raises(ValueError, match="density"):
        NoiseLevels(levels.alpha, levels.sigma, levels.timestep, share[:9])
    whole = NoiseLevels(levels.alpha, levels.sigma, levels.timestep, share)
    assert whole[2:5].density is None


def test_levels_can_be_cut() -> None:
    cut = vp_levels()[10:20]
    assert len(cut) == 10
    assert cut.timestep[0] == 10


@pytest.mark.parametrize("scale", [0.3, 1.2, 5.0])
def test_a_bound_equals_diffusers_thresholding(scale: float) -> None:
    """Below 1 nothing happens but cutting; between 1 and the limit a picture's own quantile counts; then the limit."""
    x0 = scale * torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x0[1] *= 2
    config = {"dynamic_thresholding_ratio": 0.9, "sample_max_value": 2.5}
    expected = DDIMScheduler(thresholding=True, **config)._threshold_sample(x0)
    assert torch.allclose(Bound(2.5, 0.9)(x0), expected, atol=1e-7)
    assert torch.equal(Bound(0.7)(x0), x0.clamp(-0.7, 0.7))


def test_a_part_of_a_bounded_grid_is_bounded() -> None:
    levels = vp_levels(10)
    bounded = NoiseLevels(levels.alpha, levels.sigma, levels.timestep, bound=Bound(1.0))
    assert bounded[2:5].bound == Bound(1.0)
    assert levels[2:5].bound is None
