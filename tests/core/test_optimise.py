"""Adam as a generator against Adam's own equations, and its tidiness."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from imagic.core.checkpoint import Checkpoint
from imagic.core.errors import OptionError
from imagic.core.optimise import Rated, minimise


def test_updates_follow_the_equations_with_a_rate_per_group() -> None:
    """Kingma & Ba, Algorithm 1, in plain floats on a^2 + b^2."""
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(-3.0, requires_grad=True)
    losses = list(minimise(lambda _: a * a + b * b, [Rated([a], 0.1), Rated([b], 0.01)], 5, (0.8, 0.95), 1e-6))
    expected = []
    for x, rate in ((2.0, 0.1), (-3.0, 0.01)):
        path, m, v = [x], 0.0, 0.0
        for t in range(1, 6):
            m, v = 0.8 * m + 0.2 * 2 * x, 0.95 * v + 0.05 * (2 * x) ** 2
            x -= rate * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.95**t)) + 1e-6)
            path.append(x)
        expected.append(path)
    assert [a.item(), b.item()] == pytest.approx([expected[0][-1], expected[1][-1]], rel=1e-5)
    assert losses == pytest.approx([x * x + y * y for x, y in zip(*expected, strict=True)][:5], rel=1e-5)


def test_the_rate_falls_to_zero_over_the_last_steps() -> None:
    """Of a constant gradient, every update of Adam is one learning rate long."""
    x = torch.zeros(1, requires_grad=True)
    path = [x.item() for _ in minimise(lambda _: x.sum(), [Rated([x], 0.1)], 8, cooldown=0.5)]
    lengths = -np.diff([0.0, *path])
    assert lengths == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025], rel=1e-5)


def test_gradients_reach_the_given_parameters_only() -> None:
    tuned, bystander = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    loop = minimise(lambda _: (tuned * bystander).sum(), [Rated([tuned], 0.1)], 3)
    next(loop)
    assert bystander.grad is None
    assert torch.is_grad_enabled()
    loop.close()
    assert tuned.grad is None


def test_it_works_for_a_caller_without_gradients() -> None:
    x = torch.ones(1, requires_grad=True)
    with torch.no_grad():
        for _ in minimise(lambda _: (x * x).sum(), [Rated([x], 0.1)], 1):
            assert not torch.is_grad_enabled()
    assert x.item() == pytest.approx(0.9)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_it(bad: float) -> None:
    x = torch.ones(1, requires_grad=True)

    def objective(step: int) -> Tensor:
        return (x * (bad if step == 1 else 1.0)).sum()

    with pytest.raises(OptionError, match="diverged at step 2"):
        list(minimise(objective, [Rated([x], 0.1)], 3))
    assert x.grad is None
    assert x.item() == pytest.approx(0.9)


def test_parts_of_a_loss_add_up_and_each_graph_is_gone_before_the_next() -> None:
    a = torch.tensor([2.0, -1.0], requires_grad=True)
    alive: list[weakref.ref[Tensor]] = []

    def parts(_: int) -> Iterator[Tensor]:
        for value in a:
            assert all(part() is None for part in alive)
            part = value**2 / 2
            alive.append(weakref.ref(part))
            yield part
            del part

    whole = torch.tensor([2.0, -1.0], requires_grad=True)
    losses = list(minimise(parts, [Rated([a], 0.1)], 4))
    assert losses == pytest.approx(list(minimise(lambda _: (whole**2).sum() / 2, [Rated([whole], 0.1)], 4)))
    assert torch.equal(a, whole)


@pytest.mark.parametrize("kill", range(1, 6))
def test_a_stage_goes_on_bit_for_bit(tmp_path: Path, kill: int) -> None:
    """Ended after any step, by whatever, and gone on with in another process: the same numbers."""

    def run(checkpoint: Checkpoint, steps: int) -> tuple[list[float], Tensor]:
        x = torch.linspace(-1, 2, 7).requires_grad_()
        stage = checkpoint.stage("a")
        noise = torch.Generator().manual_seed(3)
        if stage.step:
            noise.set_state(stage.tensors["noise"])
        losses = []

        def objective(_: int) -> Tensor:
            return ((x - torch.randn(7, generator=noise)) ** 2).sum()

        for loss in minimise(objective, [Rated([x], 0.1)], 6, stage=stage):
            losses.append(loss)
            stage.reached(stage.step + 1, {"noise": noise.get_state()}, finished=stage.step == 5)
            if len(losses) == steps:
                break
        return losses, x.detach()

    path = tmp_path / "a.safetensors"
    losses, x = run(Checkpoint(), 6)
    first, _ = run(Checkpoint(path, "k", seconds=0, clock=lambda: 0.0), kill)
    rest, again = run(Checkpoint(path, "k"), 6)
    assert first + rest == losses
    assert torch.equal(again, x)


def test_a_finished_stage_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    x = torch.ones(1, requires_grad=True)
    kept = Checkpoint(path, "k", seconds=0)
    stage = kept.stage("a")
    for _ in minimise(lambda _: (x * x).sum(), [Rated([x], 0.1)], 9, stage=stage):
        stage.reached(1, finished=True)  # stopped early, at the first of nine
        break
    kept.save()
    other = torch.zeros(1, requires_grad=True)
    assert list(minimise(lambda _: other.sum(), [Rated([other], 0.1)], 9, stage=Checkpoint(path, "k").stage("a"))) == []
    assert torch.equal(other, x)


def test_divergence_says_where() -> None:
    x = torch.ones(1, requires_grad=True)
    stage = Checkpoint().stage("network")
    with pytest.raises(OptionError, match="The stage 'network' diverged at step 1 of 3"):
        list(minimise(lambda _: (x * math.nan).sum(), [Rated([x], 0.1)], 3, stage=stage))


def test_an_update_that_is_cut_short_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, requires_grad=True)
    kept = Checkpoint(tmp_path / "a.safetensors", "k", seconds=1e9)
    stage = kept.stage("a")
    loop = minimise(lambda _: (x * x).sum(), [Rated([x], 0.1)], 3, stage=stage)
    next(loop)
    stage.reached(1)

    def half(*_: object) -> None:
        with torch.no_grad():
            x[0] += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.Adam, "step", half)
    with pytest.raises(KeyboardInterrupt):
        next(loop)
    assert kept.save() is False
    assert not list(tmp_path.iterdir())
