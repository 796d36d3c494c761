"""Training by name: the parts that ship, the presets, and where each part finds the one it builds on.

Order: the autoencoder; then, in its latents, the judge and the diffusion model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderKL

from imagic.core.errors import ModelError, OptionError
from imagic.menagerie.training.diffusion import DiffusionTask
from imagic.menagerie.training.judging import JudgeTask
from imagic.menagerie.training.latents import LatentStore
from imagic.menagerie.training.loop import Plan, Report, Task
from imagic.menagerie.training.loop import train as run
from imagic.menagerie.training.vae import VaeTask

PARTS = ("vae", "judge", "diffusion")
WEIGHTS = Path(str(resources.files("imagic.menagerie") / "weights"))

PRESETS: dict[str, dict[str, Plan]] = {
    # A minute on a CPU: proves that the code learns.
    "smoke": {
        "vae": Plan(steps=40, batch=8, learning_rate=2e-3, warmup=10, ema=0.9),
        "judge": Plan(steps=40, batch=48, learning_rate=2e-3, warmup=10, ema=0.9),
        "diffusion": Plan(steps=30, batch=24, learning_rate=1e-3, warmup=10, ema=0.9),
    },
    # Hours of two CPU cores: what ships.
    "cpu": {
        "vae": Plan(steps=2400, batch=16, learning_rate=2e-3, warmup=60, cooldown=0.35, ema=0.998),
        "judge": Plan(steps=2000, batch=192, learning_rate=2e-3, warmup=100, cooldown=0.5, ema=0.998),
        "diffusion": Plan(steps=8000, batch=64, learning_rate=1e-3, warmup=200, cooldown=0.3, ema=0.9995),
    },
    # Half an hour of one large GPU.
    "gpu": {
        "vae": Plan(steps=12000, batch=64, learning_rate=2e-3, warmup=200, cooldown=0.4, ema=0.999),
        "judge": Plan(steps=6000, batch=384, learning_rate=2e-3, warmup=200, cooldown=0.5, ema=0.999),
        "diffusion": Plan(steps=20000, batch=256, learning_rate=1e-3, warmup=500, cooldown=0.3, ema=0.9998),
    },
}
REUSE = {"smoke": 4, "cpu": 6, "gpu": 2}  # how often a scene's latents are used


def train(
    part: str, preset: str, out: Path, *, device: torch.device | str = "cpu", steps: int | None = None, seed: int = 0
) -> Generator[Report, None, None]:
    """Trains one part in the folder `out`/`part`, or goes on with it; writes `out`/`part`/export at the end.

    The judge and the diffusion model use the autoencoder of `out`/vae, or the one that ships if there is none.
    steps: another number of steps than the preset's; prolongs a run too.
    Raises OptionError for an unknown part or preset, ModelError when there is no autoencoder yet.
    """
    if part not in PARTS:
        raise OptionError(f"There is no part '{part}' to train; choose one of {', '.join(PARTS)}.")
    if preset not in PRESETS:
        raise OptionError(f"There is no preset '{preset}'; choose one of {', '.join(PRESETS)}.")
    plan = replace(PRESETS[preset][part], seed=seed)
    plan = replace(plan, steps=steps) if steps else plan
    yield from run(_task(part, preset, out, plan, device), plan, out / part, device)


def _task(part: str, preset: str, out: Path, plan: Plan, device: torch.device | str) -> Task:
    torch.manual_seed(plan.seed)  # the initial weights
    if part == "vae":
        return VaeTask(device)
    folder = next((path for path in (out / "vae" / "export", WEIGHTS / "model" / "vae") if path.is_dir()), None)
    if folder is None:
        raise ModelError(f"There is no autoencoder in {out}; run 'imagic menagerie train vae' first.")
    vae = cast(AutoencoderKL, AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True))
    vae = vae.to(device).eval().requires_grad_(False)
    fingerprint = hashlib.sha256((folder / "diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()
    store = LatentStore(vae, fingerprint, reuse=REUSE[preset], seed=plan.seed, folder=out / "latents", device=device)
    return JudgeTask(vae, store, device) if part == "judge" else DiffusionTask(vae, store, device, plan.seed)
