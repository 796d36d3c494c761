"""Flow grids against diffusers' functions of training and sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.training_utils import compute_density_for_timestep_sampling

from imagic.backbones.flow import FlowGrid, logit_normal, shift
from imagic.core import seeds
from imagic.core.errors import ModelError
from imagic.core.losses import stratified_pairs


@pytest.mark.parametrize("tokens", [16, 256, 1024, 4096, 10000])
def test_the_shift_is_that_of_the_pipelines(tokens: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    assert shift(tokens, scheduler.config) == pytest.approx(calculate_shift(tokens), rel=1e-12)
    grid = FlowGrid(scheduler, tokens, even=True)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 10, 10), mu=calculate_shift(tokens))
    assert torch.allclose(grid.schedule(10).sigma.float(), scheduler.sigmas, atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"shift": 3.0},
        {"shift": 6.0, "num_train_timesteps": 500},
        {"use_dynamic_shifting": True, "time_shift_type": "linear"},
        {"use_dynamic_shifting": True, "shift_terminal": 0.02},
        {"use_karras_sigmas": True},
    ],
)
@pytest.mark.parametrize("num_steps", [4, 30])
def test_a_grid_is_the_schedulers_own(config: dict[str, Any], num_steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    schedule = FlowGrid(scheduler, 1024).schedule(num_steps)
    scheduler.set_timesteps(num_steps, mu=calculate_shift(1024))
    assert torch.allclose(schedule.sigma.float(), scheduler.sigmas)
    assert torch.allclose(schedule.timestep[:-1], scheduler.timesteps)


def test_a_shift_between_equal_numbers_is_refused() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=256)
    with pytest.raises(ModelError, match="two equal numbers of patches, 256"):
        FlowGrid(scheduler, 1024)


def test_logit_normal_levels_are_those_of_the_training_scripts() -> None:
    """Drawn in strata from the density, and by diffusers' function of a normal sample: the same distribution."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    levels = FlowGrid(scheduler, 1024, logit_normal(1000)).levels
    u = compute_density_for_timestep_sampling("logit_normal", 40_000, 0.0, 1.0, generator=seeds.generator(0))
    expected = scheduler.sigmas[(u * 1000).long()].double()
    pairs = stratified_pairs(40_000, levels, (1, 1, 1), seeds.generator(0))
    points = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    drawn = levels.sigma[pairs.index]
    assert torch.allclose(drawn.quantile(points), expected.quantile(points), atol=0.01)


def test_logit_normal_shares() -> None:
    share = logit_normal(1000)
    assert float(share.sum()) == pytest.approx(1)
    assert torch.allclose(share, share.flip(0))
    # P(sigmoid(N) < 1/4) = P(N < -log 3).
    assert float(share[:250].sum()) == pytest.approx(0.13597, abs=1e-5)
    assert share.argmax() in (499, 500)
