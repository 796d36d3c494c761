"""Sampling and inversion against diffusers' schedulers and against closed forms."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from imagic.core import seeds
from imagic.core.conditioning import GUIDANCE, Conditioning
from imagic.core.errors import OptionError
from imagic.core.noise import NoiseLevels, Prediction
from imagic.core.sampling import LatentProgress, Sampler, ddim_noise_std, invert, predict_guided, sample
from tests.core.fakes import Gaussian, flow_levels, text, vp_levels

T = TypeVar("T")
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
KINDS = {Prediction.EPS: "epsilon", Prediction.V: "v_prediction", Prediction.X0: "sample"}
TEXT, NULL = text(0.8), text(-0.1)


def run(steps: Generator[Any, None, T]) -> tuple[list[Any], T]:
    """What a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return seen, stop.value


def leading(num_steps: int, kept_at_end: float | None = None) -> NoiseLevels:
    """Stable Diffusion's grid: leading spacing, offset 1; the end is training level 0, or `kept_at_end` (alpha^2)."""
    levels = vp_levels()
    timestep = torch.cat([1 + torch.arange(num_steps - 1, -1, -1) * (1000 // num_steps), torch.zeros(1).long()])
    kept = levels.alpha[timestep] ** 2
    if kept_at_end is not None:
        kept[-1] = kept_at_end
    return NoiseLevels(kept.sqrt(), (1 - kept).sqrt(), timestep)


def start(rows: int = 2) -> Tensor:
    return seeds.initial_noise((4, 8, 8), range(rows))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("set_alpha_to_one", [True, False])
@pytest.mark.parametrize("num_steps", [1, 4, 10, 50])
def test_ddim_equals_diffusers(kind: Prediction, set_alpha_to_one: bool, num_steps: int) -> None:
    denoiser = Gaussian(vp_levels(), kind)
    schedule = leading(num_steps, 1.0 if set_alpha_to_one else None)
    steps, result = run(sample(denoiser, start(), schedule, TEXT, NULL, 3.0))
    oracle = DDIMScheduler(
        **NOISE, prediction_type=KINDS[kind], clip_sample=False, steps_offset=1, set_alpha_to_one=set_alpha_to_one
    )
    oracle.set_timesteps(num_steps)
    z = start()
    for step, t in zip(steps, oracle.timesteps, strict=True):
        output = predict_guided(denoiser, z, t, TEXT, NULL, 3.0)
        answer = oracle.step(output, int(t), z)
        z = answer.prev_sample
        assert torch.allclose(step.z, z, atol=1e-4)
        assert torch.allclose(step.x0_hat, answer.pred_original_sample, atol=1e-4)
    assert torch.equal(result, steps[-1].z)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
@pytest.mark.parametrize("num_steps", [1, 2, 5, 10, 20])
def test_dpmpp_2m_equals_diffusers(kind: Prediction, final: str, num_steps: int) -> None:
    denoiser = Gaussian(vp_levels(), kind)
    schedule = leading(num_steps, 1.0 if final == "zero" else None)
    steps, _ = run(sample(denoiser, start(), schedule, TEXT, NULL, 3.0, "dpmpp_2m"))
    oracle = DPMSolverMultistepScheduler(
        **NOISE, prediction_type=KINDS[kind], final_sigmas_type=final, euler_at_final=True
    )
    oracle.set_timesteps(timesteps=schedule.timestep[:-1].tolist())
    z = start()
    for step, t in zip(steps, oracle.timesteps, strict=True):
        z = oracle.step(predict_guided(denoiser, z, t, TEXT, NULL, 3.0), t, z).prev_sample
        assert torch.allclose(step.z, z, atol=2e-4)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_flow_equals_diffusers_euler(sampler: Sampler) -> None:
    schedule = flow_levels(8)
    denoiser = Gaussian(schedule, Prediction.FLOW)
    steps, _ = run(sample(denoiser, start(), schedule, TEXT, sampler=sampler))
    oracle = FlowMatchEulerDiscreteScheduler()
    oracle.set_timesteps(sigmas=schedule.sigma[:-1].tolist())
    z = start()
    for step, t in zip(steps, oracle.timesteps, strict=True):
        z = oracle.step(denoiser.predict(z, t.expand(2), TEXT), t, z).prev_sample
        if sampler is Sampler.DDIM or step.step == 1:  # the second-order sampler starts with the same step
            assert torch.allclose(step.z, z, atol=1e-5)


@pytest.mark.parametrize("kind", [Prediction.EPS, Prediction.V])
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmpp_2m", 2)])
def test_order_of_convergence(kind: Prediction, sampler: str, order: int) -> None:
    """The exact flow between Gaussians: z_T goes to mean + std_0 / std_T (z_T - alpha_T mean)."""
    denoiser = Gaussian(vp_levels(), kind)
    errors = []
    for num_steps in (50, 100):
        schedule = leading(num_steps)[10 * num_steps // 50 : -2 * num_steps // 50]  # away from the ends' short steps
        z = start(4)
        _, result = run(sample(denoiser, z, schedule, TEXT, sampler=sampler))
        spread = (schedule.alpha**2 * 0.25 + schedule.sigma**2).sqrt()
        mean = 0.8 * schedule.alpha
        exact = mean[-1] + spread[-1] / spread[0] * (z.double() - mean[0])
        errors.append(float((result - exact).norm() / exact.norm()))
    assert errors[0] / errors[1] > 0.85 * 2**order


@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("kind", [Prediction.V, Prediction.X0])
def test_pure_noise_without_signal_is_a_level_like_any_other(sampler: Sampler, kind: Prediction) -> None:
    """Zero terminal SNR: alpha = 0 gives the limit of a vanishing alpha, and nothing infinite."""
    results = []
    for alpha in (0.0, 1e-5):
        grid = leading(10, 1.0)
        kept = grid.alpha.clone()
        kept[0] = alpha
        schedule = NoiseLevels(kept, (1 - kept**2).sqrt(), grid.timestep)
        results.append(run(sample(Gaussian(schedule, kind), start(), schedule, TEXT, sampler=sampler))[1])
    assert torch.isfinite(results[0]).all()
    # At 1e-5 the second step of the second-order sampler still sees a trace (1 / log-SNR) of the first.
    assert torch.allclose(*results, atol=1e-4 if sampler is Sampler.DDIM else 5e-2)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_batch_equals_its_rows_one_by_one(sampler: Sampler) -> None:
    denoiser, schedule = Gaussian(vp_levels(), Prediction.V), leading(6)
    conditioning = text(0.8, -0.5, 0.1)
    z = start(3)
    _, together = run(sample(denoiser, z, schedule, conditioning, NULL, 4.0, sampler))
    for i in range(3):
        row = slice(i, i + 1)
        _, alone = run(sample(denoiser, z[row], schedule, conditioning[row], NULL, 4.0, sampler))
        assert torch.allclose(together[row], alone, atol=1e-6)


def test_guidance_of_one_skips_the_null_pass() -> None:
    denoiser, schedule = Gaussian(vp_levels(), Prediction.EPS), leading(3)
    run(sample(denoiser, start(), schedule, TEXT, NULL, 1.0))
    assert denoiser.calls == [(2, 667.0), (2, 334.0), (2, 1.0)]
    denoiser.calls.clear()
    run(sample(denoiser, start(), schedule, TEXT, NULL, 2.0))
    assert denoiser.calls == [(4, 667.0), (4, 334.0), (4, 1.0)]


def test_guidance_extrapolates_from_null_to_text() -> None:
    denoiser = Gaussian(vp_levels(), Prediction.EPS)
    z = start()
    t = torch.tensor([500, 500])
    null, conditional = denoiser.predict(z, t, NULL), denoiser.predict(z, t, TEXT)
    guided = predict_guided(denoiser, z, 500, TEXT, NULL, 7.5)
    assert torch.allclose(guided, null + 7.5 * (conditional - null), atol=1e-5)
    with pytest.raises(ValueError):
        predict_guided(denoiser, z, 500, TEXT, None, 7.5)


def test_each_row_has_its_own_guidance() -> None:
    denoiser, z = Gaussian(vp_levels(), Prediction.EPS), start()
    both = predict_guided(denoiser, z, 500, TEXT, NULL, [1.0, 7.5])
    assert [rows for rows, _ in denoiser.calls] == [3]  # of which one is unconditional
    assert torch.equal(both[:1], predict_guided(denoiser, z[:1], 500, TEXT, NULL, 1.0))
    assert torch.equal(both[1:], predict_guided(denoiser, z[1:], 500, TEXT, NULL, 7.5))
    with pytest.raises(RuntimeError):
        predict_guided(denoiser, z, 500, TEXT, NULL, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_a_model_that_takes_the_scale_runs_once_with_it(scale: float) -> None:
    class Distilled(Gaussian):
        def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
            return super().predict(z, timestep, conditioning) + conditioning.tensors[GUIDANCE].reshape(-1, 1, 1, 1)

    denoiser = Distilled(vp_levels(), Prediction.EPS)
    bundle = Conditioning({**TEXT.tensors, GUIDANCE: torch.ones(1)}, TEXT.learnable)
    output = predict_guided(denoiser, start(), 500, bundle, bundle, scale)
    assert denoiser.calls == [(2, 500.0)]
    plain = Gaussian(vp_levels(), Prediction.EPS).predict(start(), torch.tensor([500, 500]), TEXT.expand(2))
    assert torch.allclose(output, plain + scale)


def test_gradients_flow_through_a_guided_prediction() -> None:
    conditioning = TEXT.trainable()
    output = predict_guided(Gaussian(vp_levels(), Prediction.EPS), start(), 500, conditioning, NULL, 2.0)
    output.sum().backward()
    assert conditioning.tensors["sequence"].grad is not None


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_noise_equals_diffusers(eta: float) -> None:
    denoiser, schedule = Gaussian(vp_levels(), Prediction.EPS), leading(10, 1.0)
    steps, _ = run(
        sample(denoiser, start(), schedule, TEXT, ddim_noise=eta, generators=[seeds.generator(8), seeds.generator(9)])
    )
    oracle = DDIMScheduler(**NOISE, clip_sample=False, steps_offset=1)
    oracle.set_timesteps(10)
    sources = [seeds.generator(8), seeds.generator(9)]
    z = start()
    for step, t in zip(steps, oracle.timesteps, strict=True):
        noise = seeds.draw((4, 8, 8), sources)
        output = denoiser.predict(z, t.expand(2), TEXT)
        z = oracle.step(output, int(t), z, eta=eta, variance_noise=noise).prev_sample
        assert torch.allclose(step.z, z, atol=1e-4)


def test_ddim_noise_keeps_the_marginals_of_flow_levels() -> None:
    """For any family the fresh noise never exceeds the noise of the level it leads to."""
    schedule = flow_levels(10)
    for step in range(1, 10):
        assert 0 <= ddim_noise_std(schedule, step, 1.0) <= float(schedule.sigma[step + 1])


def test_a_sampler_refuses_what_it_cannot_do() -> None:
    denoiser, schedule = Gaussian(vp_levels(), Prediction.EPS), leading(2)
    with pytest.raises(OptionError, match="ddim, dpmpp_2m"):
        run(sample(denoiser, start(), schedule, TEXT, sampler="euler"))
    with pytest.raises(OptionError, match="deterministic"):
        run(sample(denoiser, start(), schedule, TEXT, sampler="dpmpp_2m", ddim_noise=0.5))
    with pytest.raises(ValueError):
        run(sample(denoiser, start(), schedule, TEXT, ddim_noise=0.5, generators=[seeds.generator(1)]))


def test_a_schedule_of_one_level_changes_nothing() -> None:
    denoiser = Gaussian(vp_levels(), Prediction.EPS)
    steps, result = run(sample(denoiser, start(), leading(5)[-1:], TEXT))
    assert steps == []
    assert torch.equal(result, start())


def test_progress_counts_and_names_the_stage_and_leaves_gradients_on() -> None:
    steps = sample(Gaussian(vp_levels(), Prediction.EPS), start(), leading(3), TEXT, stage="edit")
    first = next(steps)
    assert isinstance(first, LatentProgress)
    assert (first.stage, first.step, first.total) == ("edit", 1, 3)
    assert torch.is_grad_enabled()  # between two steps the caller may train
    assert [step.step for step in steps] == [2, 3]


def test_inversion_equals_diffusers() -> None:
    denoiser, schedule = Gaussian(vp_levels(), Prediction.EPS), leading(10)
    steps, trajectory = run(invert(denoiser, 0.5 * start(), schedule, TEXT))
    oracle = DDIMInverseScheduler(**NOISE, clip_sample=False, steps_offset=1, set_alpha_to_one=False)
    oracle.set_timesteps(10)
    z = 0.5 * start()
    for step, t in zip(steps, oracle.timesteps, strict=True):
        answer = oracle.step(denoiser.predict(z, t.expand(2), TEXT), int(t), z)
        z = answer.prev_sample
        assert torch.allclose(step.z, z, atol=1e-4)
        assert torch.allclose(step.x0_hat, answer.pred_original_sample, atol=1e-4)
    assert torch.equal(trajectory[0], steps[-1].z)
    assert torch.equal(trajectory[-1], 0.5 * start())
    assert torch.equal(trajectory[-2], steps[0].z)
    assert len(trajectory) == len(schedule)


class Fixed:
    """A network whose output depends on the timestep alone."""

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        return torch.sin(torch.arange(z[0].numel()) + float(timestep[0])).reshape(1, *z.shape[1:]).expand_as(z)


@pytest.mark.parametrize("kind", [Prediction.EPS, Prediction.V, Prediction.FLOW])
@pytest.mark.parametrize("schedule", [leading(5), leading(5, 1.0), flow_levels(5)[1:]], ids=["sd", "to-one", "flow"])
def test_inversion_undoes_decoding_where_the_output_does_not_depend_on_z(
    kind: Prediction, schedule: NoiseLevels
) -> None:
    _, trajectory = run(invert(Fixed(kind), start(), schedule, TEXT))
    _, back = run(sample(Fixed(kind), trajectory[0], schedule, TEXT))
    assert torch.allclose(back, start(), atol=1e-4)


# Relative round-trip error on x0 ~ N(0.3, 0.5^2) at strength 0.8, computed apart from this code in float64 scalars.
ROUND_TRIP = {
    Prediction.EPS: {10: 1.7e-1, 20: 8.6e-2, 50: 3.4e-2, 100: 1.7e-2, 200: 8.4e-3, 500: 3.4e-3},
    Prediction.X0: {10: 1.7e-1, 20: 8.6e-2, 50: 3.4e-2, 100: 1.7e-2, 200: 8.4e-3, 500: 3.4e-3},
    Prediction.V: {10: 9.1e-2, 20: 4.1e-2, 50: 1.48e-2, 200: 3.47e-3},
}


@pytest.mark.parametrize(
    ("kind", "num_steps", "expected"),
    [(kind, num_steps, error) for kind, errors in ROUND_TRIP.items() for num_steps, error in errors.items()],
)
def test_round_trip_error_of_inversion(kind: Prediction, num_steps: int, expected: float) -> None:
    denoiser, data = Gaussian(vp_levels(), kind), text(0.3)
    schedule = leading(num_steps)[-(int(num_steps * 0.8) + 1) :]
    z0 = 0.3 + 0.5 * seeds.initial_noise((4, 32, 32), [0])
    _, trajectory = run(invert(denoiser, z0, schedule, data))
    _, back = run(sample(denoiser, trajectory[0], schedule, data))
    assert float((back - z0).norm() / z0.norm()) == pytest.approx(expected, rel=0.03)
