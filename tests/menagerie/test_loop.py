"""The training loop: identical continuation after a kill, atomic checkpoints, the plan's rates and the averaging."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from imagic.core.errors import OptionError, StateError
from imagic.menagerie.training.loop import CHECKPOINT, Plan, Report, train
from tests.menagerie import toy
from tests.menagerie.toy import ToyTask, toy_plan

STEPS = 40


def start(out: Path, *death: int) -> subprocess.Popen[str]:
    """The toy run in a process of its own, on one thread."""
    arguments = [str(argument) for argument in (toy.__file__, out, STEPS, *death)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True)


def go_on(out: Path) -> list[int]:
    """The same run in this process; its steps. Other initial weights, to see that a checkpoint's are taken."""
    return [report.step for report in train(ToyTask(1), toy_plan(STEPS), out)]


def tensors_and_step(out: Path) -> tuple[dict[str, Tensor], int]:
    path = out / CHECKPOINT
    with safe_open(path, "pt") as file:
        return load_file(path), int(file.metadata()["step"])


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """The number of threads decides the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    list(train(ToyTask(), toy_plan(STEPS), out))
    return out


def test_a_killed_run_goes_on_as_if_nothing_had_been(whole: Path, tmp_path: Path) -> None:
    step = random.randrange(2, 10)
    running = start(tmp_path)
    assert running.stdout is not None
    while int(running.stdout.readline()) < step:
        pass
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert not (tmp_path / "export").exists()
    done = tensors_and_step(tmp_path)[1]
    assert step <= done < STEPS
    assert go_on(tmp_path) == [*range(done + 1, STEPS + 1)]
    assert_same(tensors_and_step(tmp_path)[0], tensors_and_step(whole)[0])
    assert_same(*(load_file(out / "export" / "net.safetensors") for out in (tmp_path, whole)))


def test_a_kill_while_saving_leaves_the_earlier_checkpoint(whole: Path, tmp_path: Path) -> None:
    died = start(tmp_path, 4)
    died.communicate()
    assert died.returncode == -signal.SIGKILL
    assert tensors_and_step(tmp_path)[1] == 3
    assert go_on(tmp_path) == [*range(4, STEPS + 1)]
    assert_same(tensors_and_step(tmp_path)[0], tensors_and_step(whole)[0])


def test_an_error_while_saving_leaves_the_earlier_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(ToyTask(), toy_plan(9, checkpoint_seconds=0), tmp_path)
    next(run)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def fail(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("imagic.menagerie.training.loop.save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        next(run)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_checkpoints_are_written_as_often_as_planned(tmp_path: Path) -> None:
    for report in train(ToyTask(), toy_plan(4, checkpoint_seconds=3600), tmp_path):
        assert (tmp_path / CHECKPOINT).exists() == (report.step == 4)


@pytest.mark.parametrize(("change", "named"), [({"batch": 5}, "batch"), ({"seed": 1}, "seed")])
def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    list(train(ToyTask(), toy_plan(2), tmp_path))
    with pytest.raises(OptionError, match=rf"another {named}; choose another folder[^.]*\.$"):
        next(train(ToyTask(), toy_plan(3, **change), tmp_path))


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    class Other(ToyTask):
        name = "other"

    list(train(ToyTask(), toy_plan(2), tmp_path))
    with pytest.raises(OptionError, match=r"a run of 'toy', not of 'other'; choose another folder\.$"):
        next(train(Other(), toy_plan(2), tmp_path))


def test_a_run_can_be_prolonged_from_its_plateau(tmp_path: Path) -> None:
    short, long = toy_plan(8, cooldown=0.25, checkpoint_seconds=0), toy_plan(12, cooldown=0.25, checkpoint_seconds=0)
    list(islice(train(ToyTask(), short, tmp_path / "a"), 6))
    assert [report.step for report in train(ToyTask(1), long, tmp_path / "a")] == [*range(7, 13)]
    list(train(ToyTask(), long, tmp_path / "b"))
    assert_same(tensors_and_step(tmp_path / "a")[0], tensors_and_step(tmp_path / "b")[0])


def test_a_finished_run_is_exported_again(tmp_path: Path) -> None:
    list(train(ToyTask(), toy_plan(2), tmp_path))
    exported = load_file(tmp_path / "export" / "net.safetensors")
    (tmp_path / "export" / "net.safetensors").unlink()
    assert list(train(ToyTask(1), toy_plan(2), tmp_path)) == []
    assert_same(load_file(tmp_path / "export" / "net.safetensors"), exported)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Broken(ToyTask):
        def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            loss, values = super().loss(step, batch, noise)
            return loss * (float("nan") if step == 2 else 1.0), values

    run = train(Broken(), toy_plan(5), tmp_path)
    next(run)
    next(run)
    with pytest.raises(StateError, match=re.escape("The loss of step 2 is not finite")):
        next(run)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    plan = Plan(steps=100, batch=1, learning_rate=0.5, warmup=10, cooldown=0.3)
    expected = {0: 0.05, 4: 0.25, 9: 0.5, 40: 0.5, 70: 0.5, 71: 0.5 * 29 / 30, 85: 0.25, 99: 0.5 / 30}
    assert {step: plan.rate(step) for step in expected} == pytest.approx(expected)
    constant = replace(plan, warmup=0, cooldown=0.0)
    assert {constant.rate(step) for step in range(100)} == {0.5}


def test_the_loop_steps_at_the_planned_rate(tmp_path: Path) -> None:
    """Without a gradient AdamW only decays: w (1 - 0.01 lr) at each step."""

    class Still(ToyTask):
        def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
            loss = 0.0 * sum(p.sum() for p in self.net.parameters())
            assert isinstance(loss, Tensor)
            return loss, {}

    task, plan = Still(), toy_plan(10, warmup=4, cooldown=0.5, learning_rate=0.5)
    before = task.net[0].bias.detach().clone()
    list(train(task, plan, tmp_path))
    kept = 1.0
    for rate in (0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1):
        kept *= 1 - 0.01 * rate
    torch.testing.assert_close(task.net[0].bias.detach(), before * kept)


def test_the_averaged_weights_are_the_exponential_average(tmp_path: Path) -> None:
    def weights(net: nn.Module) -> Tensor:
        return torch.cat([p.detach().double().flatten() for p in net.parameters()])

    task = ToyTask()
    average = weights(task.net)
    for report in train(task, toy_plan(30, ema=0.6), tmp_path):
        # A short memory at first: (1 + k) / (10 + k) after k earlier steps, then the planned one.
        decay = min(0.6, report.step / (report.step + 9))
        average = decay * average + (1 - decay) * weights(task.net)
    kept = ToyTask(1).net
    kept.load_state_dict(load_file(tmp_path / "export" / "net.safetensors"))
    torch.testing.assert_close(weights(kept), average, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(weights(kept), weights(task.net), atol=1e-3)


def test_training_reports_and_learns(tmp_path: Path) -> None:
    task = ToyTask()

    def fixed_loss() -> float:
        return task.loss(0, 64, torch.Generator().manual_seed(0))[1]["loss"]

    before = fixed_loss()
    reports = list(train(task, toy_plan(60), tmp_path))
    assert fixed_loss() < 0.7 * before
    assert [report.step for report in reports] == [*range(1, 61)]
    assert reports[-1].seconds_left == 0 < reports[0].seconds_left
    assert {"loss", "gradient"} == set(reports[0].values)
    line = Report(3, 60, {"loss": 0.5}, 2.0, 90.0).line()
    assert line == "step 3/60  loss 0.5000  2.0 images/s  1.5 min left"
    assert (tmp_path / "sheet-0000060.png").is_file()
