"""Which schedulers' noise preserves variance; the levels themselves stand in test_stable_diffusion."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import DDIMScheduler, EDMDPMSolverMultistepScheduler, EulerDiscreteScheduler

from imagic.backbones.vp import VPGrid
from imagic.core.errors import ModelError
from imagic.core.noise import Bound, Prediction


def test_noise_of_edm_is_refused_however_it_was_read(tmp_path: Path) -> None:
    scheduler = EDMDPMSolverMultistepScheduler()
    with pytest.raises(ModelError, match="in a way that no Stable Diffusion model does"):
        VPGrid("playground", scheduler)
    scheduler.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="in a way that no Stable Diffusion model does"):
        VPGrid("playground", DDIMScheduler.from_pretrained(tmp_path))


def test_the_scheduler_of_sdxl_is_read_as_it_is_published(tmp_path: Path) -> None:
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    )
    scheduler.save_pretrained(tmp_path)
    grid = VPGrid("sdxl", DDIMScheduler.from_pretrained(tmp_path))
    assert grid.prediction is Prediction.EPS
    assert grid.schedule(10).timestep.tolist() == [*range(901, 0, -100), 0]
    # Euler's sigma is that of an unscaled image: sigma / alpha.
    scheduler.set_timesteps(10)
    schedule = grid.schedule(10)
    ratio = (schedule.sigma / schedule.alpha)[:-1].float()
    assert ratio.tolist() == pytest.approx(scheduler.sigmas[:-1].tolist(), rel=1e-4)


def test_pixels_are_bounded_as_the_config_says_and_latents_never() -> None:
    for settings, bound in (
        ({"clip_sample": False}, None),
        ({"clip_sample": True, "clip_sample_range": 2.0}, Bound(2.0)),
        ({"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.95}, Bound(1.5, 0.95)),
    ):
        scheduler = DDIMScheduler(**settings)
        assert VPGrid("if", scheduler, pixels=True).schedule(3).bound == bound
        assert VPGrid("sd", scheduler).schedule(3).bound is None
