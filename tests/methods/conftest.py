"""What the tests of methods share: an image, running a generator to its end, and comparing weights bit for bit."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from imagic.core.types import FitRequest, Progress

Result = TypeVar("Result")


def finish(generator: Generator[Progress, None, Result]) -> tuple[list[Progress], Result]:
    """All that a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(generator))
        except StopIteration as stop:
            return seen, stop.value


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_untouched(network: nn.Module, before: dict[str, Tensor]) -> None:
    """The weights of the snapshot, bit for bit, no gradient and nothing that asks for one."""
    after: dict[str, Any] = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


@pytest.fixture
def request_to_sit() -> FitRequest:
    """A 16 px image and a target text."""
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return FitRequest(image=image, target_text="a photo of a sitting dog", seed=5)
