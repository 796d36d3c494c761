"""A small training run for tests of the loop. As a program: `toy.py OUT STEPS [DEATH]`.

It saves after each step, and kills itself when half of save number DEATH is written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save, save_file
from torch import Tensor, nn

from imagic.menagerie.training import loop


class ToyTask:
    """Regression of a fixed function by a small network of every kind of layer that the optimiser tells apart."""

    name = "toy"

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Conv2d(3, 16, 3),
                nn.SiLU(),
                nn.Conv2d(16, 16, 3),
                nn.GroupNorm(4, 16),
                nn.Flatten(),
                nn.Linear(256, 16),
            )

    def networks(self) -> dict[str, nn.Module]:
        return {"net": self.net}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        x = torch.randn(batch, 3, 8, 8, generator=noise)
        loss = (self.net(x) - x.flatten(1)[:, :16].sin()).square().mean()
        return loss, {"loss": loss.item()}

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        return Image.new("RGB", (2, 2))

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        save_file(networks["net"].state_dict(), folder / "net.safetensors")


def toy_plan(steps: int, **changes: Any) -> loop.Plan:
    return loop.Plan(**{"steps": steps, "batch": 4, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9, **changes})


def _die_in_save(number: int) -> None:
    saves = 0

    def save_or_die(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        nonlocal saves
        saves += 1
        if saves < number:
            return save_file(tensors, path, metadata)
        data = save(tensors, metadata)
        path.write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    loop.save_file = save_or_die


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, steps, *death = sys.argv[1:]
    for number in death:
        _die_in_save(int(number))
    for report in loop.train(ToyTask(), toy_plan(int(steps), checkpoint_seconds=0), Path(out)):
        sys.stdout.write(f"{report.step}\n")
        sys.stdout.flush()
