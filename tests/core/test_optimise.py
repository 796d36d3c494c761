"""Adam as a generator against Adam's own equations, and its tidiness."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

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
