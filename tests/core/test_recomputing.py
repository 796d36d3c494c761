"""Whether gradients fit into the free memory is measured, and only where they would not they are made from less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from imagic.core import recomputing
from imagic.core.recomputing import as_memory_allows, free_bytes, kept_bytes

NUMBERS = 100
DATA = torch.ones(2, NUMBERS)
WEIGHT = torch.ones(NUMBERS, requires_grad=True)


class Model:
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.recomputes = False

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        self.recomputes = True
        yield
        self.recomputes = False


def loss(rows: int) -> Tensor:
    """For the backward pass exp keeps its result, (rows, NUMBERS) in float32; the product's data were there before."""
    return (WEIGHT * DATA[:rows]).exp().mean()


def test_what_dies_with_the_graph_is_counted_once() -> None:
    assert kept_bytes(lambda: loss(1)) == 4 * NUMBERS
    assert kept_bytes(lambda: loss(2)) == 8 * NUMBERS
    assert kept_bytes(lambda: loss(2) + loss(2)) == 16 * NUMBERS
    with torch.no_grad():
        assert kept_bytes(lambda: loss(1)) == 4 * NUMBERS  # asks for the graph itself
    made = (WEIGHT * DATA).exp()
    assert kept_bytes(lambda: made.square().mean()) == 0  # made before, and kept after


def test_what_all_rows_share_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def shared(rows: int) -> Tensor:
        asked.append(rows)
        return (WEIGHT.exp() * DATA[:rows].clone()).exp().mean()  # the first exp and its result are of no row

    for rows, kept, calls in ((1, 3 * 4 * NUMBERS, [1]), (5, 11 * 4 * NUMBERS, [1, 2])):
        asked.clear()
        enough = 1.25 * kept + 12 * NUMBERS
        for free, recomputes in ((enough, False), (enough - 1, True)):
            monkeypatch.setattr(recomputing, "free_bytes", lambda device, free=free: free)
            model: Any = Model()
            with as_memory_allows(model, "network", shared, rows, [WEIGHT]):
                assert model.recomputes == recomputes
        assert asked == calls * 2


@pytest.mark.parametrize("short", [0, 1])
def test_only_what_does_not_fit_is_computed_again(
    short: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model: Any = Model()
    needed = 1.25 * 8 * 4 * NUMBERS + 12 * NUMBERS
    monkeypatch.setattr(recomputing, "free_bytes", lambda device: needed - short)
    with as_memory_allows(model, "network", loss, 8, [WEIGHT]):
        assert model.recomputes == bool(short)
    assert not model.recomputes
    assert len(caplog.messages) == short
    assert not short or "The stage 'network' would need 0.0 GiB" in caplog.text


def test_nothing_is_measured_without_parameters() -> None:
    def never(rows: int) -> Tensor:
        raise AssertionError

    with as_memory_allows(Model(), "network", never, 8, []):  # type: ignore[arg-type]
        pass


def test_the_free_memory_of_this_machine_is_a_number_of_bytes() -> None:
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
