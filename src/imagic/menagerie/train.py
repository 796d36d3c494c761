"""Training by name: the parts, the presets, and where each part finds the one it builds on.

Order: the autoencoder; then, in its latents, the diffusion model. The decoder can be trained on at any time, and the
judge and CLIP need none of them. The editor by instructions comes last, on the diffusion model. These ship. A cascade
in pixels, which does not, is its base and then its upper stage.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderKL, IFPipeline, StableDiffusionPipeline

from imagic.backbones.fingerprint import fingerprint
from imagic.backbones.quiet import quiet
from imagic.core.errors import ModelError, OptionError
from imagic.menagerie.training.base import BaseTask
from imagic.menagerie.training.clip import ClipTask
from imagic.menagerie.training.decoder import DecoderTask
from imagic.menagerie.training.diffusion import DiffusionTask
from imagic.menagerie.training.exports import begin_with
from imagic.menagerie.training.instruct import InstructTask
from imagic.menagerie.training.judging import CALIBRATION, TRIOS, JudgeTask
from imagic.menagerie.training.latents import RICH, latent_store
from imagic.menagerie.training.loop import CHECKPOINT, Plan, Report, Task
from imagic.menagerie.training.loop import train as run
from imagic.menagerie.training.pairs import PAIRS
from imagic.menagerie.training.pictures import picture_store
from imagic.menagerie.training.settling import Settling
from imagic.menagerie.training.shards import SEEDS, SHARD
from imagic.menagerie.training.upper import UpperTask
from imagic.menagerie.training.vae import VaeTask

PARTS = ("vae", "decoder", "judge", "clip", "diffusion", "instruct", "base", "upper")
WEIGHTS = Path(str(resources.files("imagic.menagerie") / "weights"))
SETTLING = Plan(steps=300, batch=64, learning_rate=3e-3, warmup=20, cooldown=0.4, ema=0.99)


@dataclass(frozen=True)
class Preset:
    """plans: how each part is trained. reuse: how often a scene is used by the networks that draw, judge_reuse: by the
    judge and by CLIP. shard: scenes drawn at once; calibration: individuals that set the judge's threshold. settling:
    the first steps of a run on an exported model, see `Settling`."""

    plans: Mapping[str, Plan]
    reuse: int
    judge_reuse: int
    shard: int = SHARD
    calibration: int = CALIBRATION
    settling: Plan = SETTLING


PRESETS = {
    # A minute on a CPU: proves that the code learns.
    "smoke": Preset(
        {
            "vae": Plan(steps=30, batch=8, learning_rate=2e-3, warmup=4, ema=0.8),
            "decoder": Plan(steps=10, batch=8, learning_rate=1e-3, warmup=2, ema=0.8),
            "judge": Plan(steps=30, batch=48, learning_rate=2e-3, warmup=4, ema=0.8),
            "clip": Plan(steps=40, batch=48, learning_rate=1e-3, warmup=4, ema=0.8),
            "diffusion": Plan(steps=16, batch=12, learning_rate=2e-3, warmup=4, ema=0.8),
            "instruct": Plan(steps=16, batch=12, learning_rate=2e-3, warmup=4, ema=0.8),
            "base": Plan(steps=16, batch=12, learning_rate=2e-3, warmup=4, ema=0.8),
            "upper": Plan(steps=6, batch=4, learning_rate=2e-3, warmup=2, ema=0.8),
        },
        reuse=4,
        judge_reuse=4,
        shard=288,
        calibration=48,
        settling=Plan(steps=4, batch=12, learning_rate=2e-3, warmup=2, ema=0.8),
    ),
    # Hours of two CPU cores: what ships.
    "cpu": Preset(
        {
            "vae": Plan(steps=8000, batch=8, learning_rate=8e-4, warmup=60, cooldown=0.5, ema=0.998),
            "decoder": Plan(steps=6000, batch=8, learning_rate=5e-4, warmup=60, cooldown=0.8, ema=0.998),
            "judge": Plan(steps=4000, batch=96, learning_rate=2e-3, warmup=100, cooldown=0.6, ema=0.998),
            "clip": Plan(steps=1300, batch=96, learning_rate=1e-3, warmup=100, cooldown=0.5, ema=0.995),
            "diffusion": Plan(steps=16000, batch=64, learning_rate=5e-4, warmup=200, cooldown=0.4, ema=0.9995),
            "instruct": Plan(steps=6000, batch=48, learning_rate=1e-3, warmup=100, cooldown=0.4, ema=0.998),
            "base": Plan(steps=16000, batch=64, learning_rate=1e-3, warmup=200, cooldown=0.4, ema=0.9995),
            "upper": Plan(steps=8000, batch=16, learning_rate=1e-3, warmup=200, cooldown=0.4, ema=0.999),
        },
        reuse=6,
        judge_reuse=4,
    ),
    # Half an hour of one large GPU.
    "gpu": Preset(
        {
            "vae": Plan(steps=12000, batch=64, learning_rate=2e-3, warmup=200, cooldown=0.4, ema=0.999),
            "decoder": Plan(steps=8000, batch=64, learning_rate=1e-3, warmup=200, cooldown=0.6, ema=0.999),
            "judge": Plan(steps=6000, batch=384, learning_rate=2e-3, warmup=200, cooldown=0.5, ema=0.999),
            "clip": Plan(steps=10000, batch=384, learning_rate=1e-3, warmup=200, cooldown=0.5, ema=0.999),
            "diffusion": Plan(steps=20000, batch=256, learning_rate=1e-3, warmup=500, cooldown=0.3, ema=0.9998),
            "instruct": Plan(steps=12000, batch=256, learning_rate=1e-3, warmup=200, cooldown=0.4, ema=0.999),
            "base": Plan(steps=20000, batch=256, learning_rate=1e-3, warmup=500, cooldown=0.3, ema=0.9998),
            "upper": Plan(steps=12000, batch=128, learning_rate=1e-3, warmup=200, cooldown=0.4, ema=0.999),
        },
        reuse=2,
        judge_reuse=1,
    ),
}


def train(
    part: str,
    preset: str,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    steps: int | None = None,
    seed: int = 0,
    start: Path | None = None,
) -> Generator[Report, None, None]:
    """Trains one part in the folder `out`/`part`, or goes on with it; writes `out`/`part`/export at the end.

    The other parts use the autoencoder of `out`/vae, and the editor the whole model of `out`/diffusion, or what ships
    if there is none. The upper stage of the cascade uses the base of `out`/base.
    steps: another number of steps than the preset's; prolongs a run too. start: an exported model whose weights a new
    run begins with, in place of random ones; helpers that it lacks are learned first, see `Settling`.
    Raises OptionError for an unknown part or preset or a seed without scenes, ModelError when there is no autoencoder
    or base yet, or when `start` does not fit.
    """
    if part not in PARTS:
        raise OptionError(f"There is no part '{part}' to train; choose one of {', '.join(PARTS)}.")
    if preset not in PRESETS:
        raise OptionError(f"There is no preset '{preset}'; choose one of {', '.join(PRESETS)}.")
    if not 0 <= seed < SEEDS:
        raise OptionError(f"The seed must lie between 0 and {SEEDS - 1}, not {seed}.")
    chosen = PRESETS[preset]
    plan = replace(chosen.plans[part], seed=seed)
    plan = plan if steps is None else replace(plan, steps=steps)
    torch.manual_seed(seed)  # the initial weights
    task = _task(part, chosen, out, seed, device)
    if start is not None and not (out / part / CHECKPOINT).is_file():
        missing = begin_with(task, start)
        if missing:
            settling = replace(chosen.settling, seed=seed)
            yield from run(Settling(task, missing, device), settling, out / part / "settling", device)
    yield from run(task, plan, out / part, device)


def _task(part: str, preset: Preset, out: Path, seed: int, device: torch.device | str) -> Task:
    if part == "vae":
        return VaeTask(device)
    if part in ("judge", "clip"):
        group = TRIOS if part == "judge" else PAIRS
        shard = preset.shard // group.views
        pictures = picture_store(group, reuse=preset.judge_reuse, seed=seed, device=device, shard=shard)
        return JudgeTask(pictures, device, preset.calibration) if part == "judge" else ClipTask(pictures, device, seed)
    if part in ("base", "upper"):
        pictures = picture_store(RICH, reuse=preset.reuse, seed=seed, device=device, shard=preset.shard)
        return BaseTask(pictures, device, seed) if part == "base" else UpperTask(_base(out), pictures, device, seed)
    base = _model(out) if part == "instruct" else None
    vae = (base.vae if base else _autoencoder(out)).to(device).eval().requires_grad_(False)
    if part == "decoder":
        return DecoderTask(vae, device)
    encoder = fingerprint({"encoder": vae.encoder, "quant_conv": vae.quant_conv}, {})
    group = PAIRS if base else RICH
    shard, folder = preset.shard // group.views, out / "latents"
    latents = latent_store(
        vae, encoder, group, reuse=preset.reuse, seed=seed, folder=folder, device=device, shard=shard,
        coats=part == "diffusion",
    )  # fmt: skip
    return InstructTask(base, latents, device, seed) if base else DiffusionTask(vae, latents, device, seed)


def _base(out: Path) -> IFPipeline:
    """The cascade's base of this run."""
    folder = out / "base" / "export"
    if not folder.is_dir():
        raise ModelError(f"There is no base in {out}; run 'imagic menagerie train base' first.")
    with quiet():
        base = IFPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, local_files_only=True)
    return cast(IFPipeline, base)


def _autoencoder(out: Path) -> AutoencoderKL:
    """The one of this run, or the one that ships."""
    folder = next((path for path in (out / "vae" / "export", WEIGHTS / "model" / "vae") if path.is_dir()), None)
    if folder is None:
        raise ModelError(f"There is no autoencoder in {out}; run 'imagic menagerie train vae' first.")
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True)
    vae.register_to_config(_name_or_path="")  # else the path of this machine is exported with it
    return cast(AutoencoderKL, vae)


def _model(out: Path) -> StableDiffusionPipeline:
    """The diffusion model of this run, or the one that ships."""
    folder = next((path for path in (out / "diffusion" / "export", WEIGHTS / "model") if path.is_dir()), None)
    if folder is None:
        raise ModelError(f"There is no model in {out}; run 'imagic menagerie train diffusion' first.")
    with quiet():
        model = StableDiffusionPipeline.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    return cast(StableDiffusionPipeline, model)
