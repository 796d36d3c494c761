"""Memory that runs out is met once with a smaller batch, and then explained; any other error is left alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from imagic.core.errors import OutOfMemory
from imagic.core.memory import ran_out, with_less_memory


@dataclass(frozen=True)
class Options:
    steps: int = 5
    max_batch: int = 16


# As torch words them on a GPU, on a CPU and on Apple's GPUs.
SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
    MemoryError(),
]


def needs_at_most(rows: int, error: BaseException, seen: list[Options]) -> object:
    def work(options: Options) -> str:
        seen.append(options)
        if options.max_batch > rows:
            raise error
        return f"done with {options.max_batch}"

    return work


@pytest.mark.parametrize("shortage", SHORTAGES, ids=lambda error: type(error).__name__)
def test_a_smaller_batch_is_tried_once(shortage: BaseException) -> None:
    seen: list[Options] = []
    made, notes = with_less_memory(needs_at_most(1, shortage, seen), Options(), "max_batch")  # type: ignore[arg-type]
    assert made == "done with 1"
    assert seen == [Options(), Options(max_batch=1)]
    (note,) = notes
    assert "max_batch 1" in note


def test_then_a_sentence_says_what_to_change() -> None:
    seen: list[Options] = []
    with pytest.raises(OutOfMemory, match=r"also with max_batch 1.*smaller model"):
        with_less_memory(needs_at_most(0, SHORTAGES[0], seen), Options(), "max_batch")  # type: ignore[arg-type]
    assert len(seen) == 2


@pytest.mark.parametrize(("options", "name"), [(Options(max_batch=1), "max_batch"), (Options(), "max_pairs")])
def test_nothing_is_tried_where_nothing_can_be_smaller(options: Options, name: str) -> None:
    seen: list[Options] = []
    with pytest.raises(OutOfMemory, match="smaller batches"):
        with_less_memory(needs_at_most(0, SHORTAGES[0], seen), options, name)  # type: ignore[arg-type]
    assert seen == [options]


def test_enough_memory_and_other_errors_are_left_alone() -> None:
    assert with_less_memory(lambda options: options.steps, Options(), "max_batch") == (5, ())
    seen: list[Options] = []
    with pytest.raises(RuntimeError, match="shapes"):
        with_less_memory(needs_at_most(0, RuntimeError("shapes differ"), seen), Options(), "max_batch")  # type: ignore[arg-type]
    assert len(seen) == 1
    assert not ran_out(ValueError("out of memory"))
