"""Sampling and inversion as one loop over noise levels, for every family and prediction kind.

The step z_s = alpha_s x0_hat + sigma_s eps_hat is DDIM (Song et al. 2021, eta 0) for variance-preserving models and
Euler for flow; walked towards noise it inverts. DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2) reuses the last x0_hat
for a second-order step, which needs fewer evaluations.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from imagic.core.conditioning import GUIDANCE, Conditioning
from imagic.core.errors import OptionError
from imagic.core.noise import NoiseLevels, Prediction, add_noise, to_x0_eps
from imagic.core.seeds import draw
from imagic.core.types import Denoiser, Progress


class Sampler(StrEnum):
    DDIM = "ddim"
    DPMPP_2M = "dpmpp_2m"


@dataclass(frozen=True, kw_only=True)
class LatentProgress(Progress):
    """One step between two levels. Decoding a preview is the reader's business.

    z: (B, C, h, w), the latents just reached. x0_hat: (B, C, h, w), the clean latents that the network saw in them.
    """

    z: Tensor
    x0_hat: Tensor


def predict_guided(
    denoiser: Denoiser,
    z: Tensor,
    timestep: Tensor | float,
    conditioning: Conditioning,
    null: Conditioning | None,
    guidance_scale: float | Sequence[float],
) -> Tensor:
    """The network output under classifier-free guidance: null + w (conditional - null) (Ho & Salimans 2022).

    z: (B, C, h, w); timestep: one of the model's own for all rows, or (B,); conditionings of B rows or one row;
    guidance_scale: w, for all rows or of each. All runs in one call, the conditional rows last; rows of w = 1 have no
    unconditional half, and need no `null`. A model that takes the scale as an input needs none either. Gradients flow.
    """
    rows = len(z)
    timesteps = torch.as_tensor(timestep).expand(rows)
    conditioning = conditioning.expand(rows)
    scale = torch.as_tensor(guidance_scale, dtype=torch.float64).expand(rows)  # on the CPU, where reading it is free
    if GUIDANCE in conditioning.tensors:
        conditioning, scale = conditioning.guided(scale), torch.ones_like(scale)
    guided = (scale != 1).nonzero().flatten()
    if not len(guided):
        return denoiser.predict(z, timesteps, conditioning)
    if null is None:
        raise ValueError("a guidance scale other than 1 needs the null conditioning")
    both = Conditioning.cat([null.expand(rows)[guided], conditioning])
    output = denoiser.predict(torch.cat([z[guided], z]), torch.cat([timesteps[guided], timesteps]), both)
    unconditional, conditional = output[:-rows], output[-rows:]
    scale = scale[guided].to(z).view(-1, *[1] * (z.dim() - 1))
    result = conditional.clone()
    result[guided] = unconditional + scale * (conditional[guided] - unconditional)
    return result


def ddim_noise_std(schedule: NoiseLevels, step: int, ddim_noise: float) -> float:
    """The standard deviation of the fresh noise in the step from level `step` to the next, cleaner one.

    `ddim_noise` (eta of the DDIM paper) times the posterior's: sigma_b / sigma_a sqrt(sigma_a^2 - (alpha_a sigma_b /
    alpha_b)^2), which is DDIM's Eq. 16 for variance-preserving levels; 0 is deterministic, 1 is DDPM.
    """
    (alpha_a, alpha_b), (sigma_a, sigma_b) = schedule.alpha[step : step + 2], schedule.sigma[step : step + 2]
    conditional_variance = sigma_a**2 - (alpha_a / alpha_b * sigma_b) ** 2
    return ddim_noise * float(sigma_b / sigma_a * conditional_variance.clamp(min=0).sqrt())


def sample(
    denoiser: Denoiser,
    z: Tensor,
    schedule: NoiseLevels,
    conditioning: Conditioning,
    null: Conditioning | None = None,
    guidance_scale: float | Sequence[float] = 1.0,
    sampler: Sampler | str = Sampler.DDIM,
    *,
    ddim_noise: float = 0.0,
    generators: Sequence[torch.Generator] = (),
    stage: str = "sampling",
) -> Generator[LatentProgress, None, Tensor]:
    """Denoise z from the first (noisiest) level of `schedule` to the last; yields after each step, returns the latents.

    z: (B, C, h, w) at the first level; a schedule of one level returns it. conditioning, null: one row for all, or B
    rows; guidance_scale: for all rows or of each; the result does not depend on how rows are batched. ddim_noise in
    [0, 1] with one generator per row makes DDIM stochastic.
    Raises OptionError for an unknown sampler, or for ddim_noise with a sampler that has none.
    """
    if sampler not in list(Sampler):
        raise OptionError(f"Unknown sampler '{sampler}'; choose one of {', '.join(Sampler)}.")
    if ddim_noise and sampler != Sampler.DDIM:
        raise OptionError(f"The sampler '{sampler}' is deterministic: use 'ddim' with ddim_noise.")
    if ddim_noise and len(generators) != len(z):
        raise ValueError("ddim_noise needs one generator per row")
    total = len(schedule) - 1
    x0_before: Tensor | None = None
    for step in range(total):
        alpha, sigma = schedule.alpha[step], schedule.sigma[step]
        with torch.no_grad():
            output = predict_guided(denoiser, z, schedule.timestep[step], conditioning, null, guidance_scale)
            x0_hat, eps_hat = to_x0_eps(output, z, alpha, sigma, denoiser.prediction)
            if schedule.bound is not None:
                x0_hat = schedule.bound(x0_hat)
            if sampler == Sampler.DPMPP_2M:
                z = _dpmpp_2m(z, x0_hat, x0_before, schedule, step)
            else:
                std = ddim_noise_std(schedule, step, ddim_noise) if ddim_noise else 0.0
                alpha_next, sigma_next = schedule.alpha[step + 1], schedule.sigma[step + 1]
                z = add_noise(x0_hat, eps_hat, alpha_next, (sigma_next**2 - std**2).clamp(min=0).sqrt())
                if std:
                    z = z + std * draw(z.shape[1:], generators, z.device)
        x0_before = x0_hat
        yield LatentProgress(stage, step + 1, total, z=z, x0_hat=x0_hat)
    return z


def _dpmpp_2m(z: Tensor, x0_hat: Tensor, x0_before: Tensor | None, schedule: NoiseLevels, step: int) -> Tensor:
    """z_t = (sigma_t / sigma_s) z + (alpha_t - alpha_s sigma_t / sigma_s) D: Eq. 9 of DPM-Solver++, midpoint form.

    The first and the last step are of first order (D = x0_hat): before the first nothing is known, and at the last the
    log-SNR may be infinite. Written in alpha and sigma, the first-order step is exact at alpha = 0 and sigma = 0.
    """
    alpha, sigma = schedule.alpha, schedule.sigma
    ratio = sigma[step + 1] / sigma[step]
    direction = x0_hat
    if x0_before is not None and step + 2 < len(schedule):
        log_snr = torch.log(alpha[step - 1 : step + 2]) - torch.log(sigma[step - 1 : step + 2])
        h_before, h = log_snr[1] - log_snr[0], log_snr[2] - log_snr[1]
        direction = x0_hat + float(h / (2 * h_before)) * (x0_hat - x0_before)
    return add_noise(direction, z, alpha[step + 1] - alpha[step] * ratio, ratio)


def invert(
    denoiser: Denoiser,
    z0: Tensor,
    schedule: NoiseLevels,
    conditioning: Conditioning,
    *,
    stage: str = "inversion",
) -> Generator[LatentProgress, None, Tensor]:
    """Walk z0 from the last (clean) level of `schedule` to the first (noisiest), without guidance.

    From level a to the noisier b the network sees z_a at b's timestep, the convention of null-text inversion and of
    diffusers' DDIMInverseScheduler, and its output is held while the decoding step from b to a is solved for z_b. For
    eps this is DDIMInverseScheduler; for v that one reads the output at level a instead, with 2.7 times the round-trip
    error on Gaussian data at 10 steps and four times at 200.

    z0: (B, C, h, w). Returns the trajectory (len(schedule), B, C, h, w), aligned with the schedule: entry 0 is the
    noisiest, the last is z0.
    """
    z, trajectory, total = z0, [z0], len(schedule) - 1
    for step in range(total):
        clean, noisy = total - step, total - step - 1
        with torch.no_grad():
            output = predict_guided(denoiser, z, schedule.timestep[noisy], conditioning, None, 1.0)
            z = _undo_step(output, z, schedule[noisy : clean + 1], denoiser.prediction)
            alpha, sigma = schedule.alpha[noisy], schedule.sigma[noisy]
            x0_hat, _ = to_x0_eps(output, z, alpha, sigma, denoiser.prediction)
        trajectory.append(z)
        yield LatentProgress(stage, step + 1, total, z=z, x0_hat=x0_hat)
    return torch.stack(trajectory[::-1])


def _undo_step(output: Tensor, z: Tensor, pair: NoiseLevels, kind: Prediction) -> Tensor:
    """The z_b from which the decoding step b to a, with this network output, leads to z.

    pair: the levels b and a. z_a = alpha_a x0_hat + sigma_a eps_hat is linear in z_b and the output; solved for z_b.
    """
    (alpha_b, alpha_a), (sigma_b, sigma_a) = pair.alpha, pair.sigma
    turn = alpha_a * sigma_b - sigma_a * alpha_b
    match kind:
        case Prediction.V:
            scale = alpha_a * alpha_b + sigma_a * sigma_b
            return add_noise(z, output, (alpha_b**2 + sigma_b**2) / scale, turn / scale)
        case Prediction.FLOW:
            scale = alpha_a + sigma_a
            return add_noise(z, output, (alpha_b + sigma_b) / scale, turn / scale)
        case Prediction.X0 | Prediction.EPS:
            # A held x0 says nothing about the noise at a level that has none; its eps does.
            _, eps_hat = to_x0_eps(output, z, alpha_b, sigma_b, kind)
            return add_noise(z, eps_hat, alpha_b / alpha_a, turn / alpha_a)
