"""MADGRAD against its algorithm written out for one number, and on a valley that it has to walk down."""

from __future__ import annotations

import pytest
import torch

from imagic.methods._madgrad import Madgrad


def test_a_number_goes_as_the_algorithm_says() -> None:
    """f(x) = (x - 3)^2 / 2 from x = 1, with a rate that changes."""
    rates = [0.1, 0.1, 0.05, 0.2, 0.01]
    x, total, squares, path = 1.0, 0.0, 0.0, []
    for k, rate in enumerate(rates):
        g = x - 3
        weight = rate * (k + 1) ** 0.5
        total += weight * g
        squares += weight * g * g
        z = 1.0 - total / (squares ** (1 / 3) + 1e-6)
        x = 0.9 * x + 0.1 * z
        path.append(x)
    parameter = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimiser = Madgrad([parameter])
    found = []
    for rate in rates:
        ((parameter - 3) ** 2 / 2).backward()
        optimiser.step(rate)
        assert parameter.grad is None
        found.append(float(parameter.detach()))
    assert found == pytest.approx(path, rel=1e-9)


def test_a_valley_is_walked_down_and_what_has_no_gradient_stays() -> None:
    x, idle = torch.tensor([5.0, -4.0], requires_grad=True), torch.ones(2, requires_grad=True)
    optimiser = Madgrad([x, idle])
    for _ in range(400):
        (x[0].square() + 20 * x[1].square()).backward()
        optimiser.step(0.05)
    assert float(x.detach().abs().max()) < 0.05
    assert torch.equal(idle, torch.ones(2))
