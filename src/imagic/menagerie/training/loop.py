"""The training loop: a generator over steps, resumable after a kill with an identical continuation.

Whatever is random in a step is derived from the run's seed and the step's number, so a checkpoint holds tensors and a
step and nothing else. The learning rate rises over the first steps, stays, and falls to zero over the last ones, so
that a run can be prolonged from a checkpoint of its plateau.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from imagic.core.errors import OptionError, StateError
from imagic.core.files import replacing, replacing_folder
from imagic.core.optimise import cooled
from imagic.core.seeds import derive, generator
from imagic.menagerie.training.optimiser import Optimiser

CHECKPOINT = "checkpoint.safetensors"
RUNNING = 0.98  # memory of the running means in the progress
FIXED = ("batch", "seed")  # what must not change between a checkpoint and its continuation


@dataclass(frozen=True)
class Plan:
    """How long and how fast a network is trained.

    steps, batch, learning_rate; warmup: steps of rising rate; cooldown: share of the steps in which it falls to zero;
    ema: decay of the averaged weights per step; clip: largest gradient norm; checkpoint_seconds, sheet_steps: how often
    to save and to draw a sample sheet; bf16: autocast.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200
    cooldown: float = 0.3
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    bf16: bool = True
    checkpoint_seconds: float = 120.0
    sheet_steps: int = 500

    def rate(self, step: int) -> float:
        """The learning rate of a step (0-based)."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        return self.learning_rate * min(rising, cooled(step, self.steps, self.cooldown))


class Task(Protocol):
    """What is trained: its networks, its loss, and how it shows and exports itself."""

    name: str

    def networks(self) -> Mapping[str, nn.Module]:
        """The networks whose weights are trained and averaged."""

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step, computed under autocast, and values worth showing. `noise` is a CPU generator."""

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        """A picture of what the averaged networks can do."""

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the averaged networks as they ship into an empty folder."""


@dataclass(frozen=True)
class Report:
    """Progress after a step: running means of the values, images per second, and seconds left."""

    step: int
    steps: int
    values: Mapping[str, float] = field(default_factory=dict)
    images_per_second: float = 0.0
    seconds_left: float = 0.0

    def line(self) -> str:
        values = "  ".join(f"{name} {value:.4f}" for name, value in self.values.items())
        left = f"{self.seconds_left / 60:.1f} min left"
        return f"step {self.step}/{self.steps}  {values}  {self.images_per_second:.1f} images/s  {left}"


def train(task: Task, plan: Plan, out: Path, device: torch.device | str = "cpu") -> Generator[Report, None, None]:
    """Trains `task` by `plan` in the folder `out`, going on from its checkpoint if there is one; exports at the end.

    Raises OptionError when the checkpoint was made by another plan (its number of steps may differ).
    """
    out.mkdir(parents=True, exist_ok=True)
    networks = dict(task.networks())
    for network in networks.values():
        network.to(device).train()
    optimiser = Optimiser(networks.values(), plan.learning_rate)
    averaged = {name: copy.deepcopy(network).eval().requires_grad_(False) for name, network in networks.items()}
    first = _load(out / CHECKPOINT, task, plan, networks, averaged, optimiser)
    running: dict[str, float] = {}
    started = saved = time.monotonic()
    device_type = torch.device(device).type
    for step in range(first, plan.steps):
        noise = generator(derive(plan.seed, f"{task.name}/{step}"))
        with torch.autocast(device_type, torch.bfloat16, enabled=plan.bf16):
            loss, values = task.loss(step, plan.batch, noise)
        if not math.isfinite(loss.item()):
            raise StateError(
                f"The loss of step {step} is not finite; start again from {out} with a lower learning rate."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        values["gradient"] = optimiser.step(plan.rate(step), plan.clip)
        _average(averaged, networks, min(plan.ema, (1 + step) / (10 + step)))
        for name, value in values.items():
            running[name] = value if name not in running else RUNNING * running[name] + (1 - RUNNING) * value
        done, now = step + 1, time.monotonic()
        if done == plan.steps or now - saved > plan.checkpoint_seconds:
            _save(out / CHECKPOINT, task, plan, done, networks, averaged, optimiser)
            saved = now
        if done == plan.steps or done % plan.sheet_steps == 0:
            with torch.no_grad(), torch.autocast(device_type, torch.bfloat16, enabled=plan.bf16):
                task.sheet(averaged).save(out / f"sheet-{done:07d}.png")
        rate = (done - first) * plan.batch / (now - started)
        yield Report(done, plan.steps, dict(running), rate, (plan.steps - done) * plan.batch / rate)
    with replacing_folder(out / "export") as part:
        task.export(averaged, part)


def _average(averaged: Mapping[str, nn.Module], networks: Mapping[str, nn.Module], decay: float) -> None:
    for name, network in networks.items():
        targets = [p.detach() for p in averaged[name].parameters()]
        sources = [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(targets, sources, 1 - decay)


def _save(
    path: Path, task: Task, plan: Plan, step: int, networks: Mapping[str, nn.Module],
    averaged: Mapping[str, nn.Module], optimiser: Optimiser,
) -> None:  # fmt: skip
    tensors = {f"optimiser/{name}": tensor for name, tensor in optimiser.state().items()}
    for name in networks:
        tensors |= {f"network/{name}/{key}": value for key, value in networks[name].state_dict().items()}
        tensors |= {f"averaged/{name}/{key}": value for key, value in averaged[name].state_dict().items()}
    facts = {"task": task.name, "step": str(step), "plan": json.dumps(asdict(plan))}
    with replacing(path, overwrite=True) as part:
        # Copies, since tensors that share memory, as T5's embeddings do, are refused.
        kept = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        save_file(kept, part, metadata=facts)


def _load(
    path: Path, task: Task, plan: Plan, networks: Mapping[str, nn.Module],
    averaged: Mapping[str, nn.Module], optimiser: Optimiser,
) -> int:  # fmt: skip
    """Puts a checkpoint back and returns the number of steps done; 0 without a checkpoint."""
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        facts = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if facts.get("task") != task.name:
        raise OptionError(f"{path} holds a run of '{facts.get('task')}', not of '{task.name}'; choose another folder.")
    before = json.loads(facts["plan"])
    changed = sorted(key for key, value in asdict(plan).items() if key in FIXED and before.get(key) != value)
    if changed:
        raise OptionError(f"{path} was made with another {', '.join(changed)}; choose another folder or the same plan.")
    for name in networks:
        networks[name].load_state_dict(_part(tensors, f"network/{name}/"))
        averaged[name].load_state_dict(_part(tensors, f"averaged/{name}/"))
    optimiser.load_state(_part(tensors, "optimiser/"))
    return int(facts["step"])


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
