"""A seed means the same noise in any batch, on any day."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagic.core.errors import OptionError
from imagic.core.seeds import SEED_LIMIT, derive, draw, generator, initial_noise


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, SEED_LIMIT - 1), min_size=1, max_size=5))
def test_a_seed_gives_the_same_row_in_any_batch(seeds: list[int]) -> None:
    batch = initial_noise((4, 8, 8), seeds)
    for row, seed in zip(batch, seeds, strict=True):
        assert torch.equal(row, initial_noise((4, 8, 8), [seed])[0])


def test_noise_is_that_of_a_torch_generator() -> None:
    expected = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    assert torch.equal(initial_noise((4, 8, 8), [7]), expected)


def test_derived_seeds_are_stable_and_differ() -> None:
    # The first 8 bytes of sha256("0/mask") and sha256("1/mask"), modulo 2^32, as sha256sum gives them.
    assert derive(0, "mask") == 0x0661C922
    assert derive(1, "mask") == 0x4B4CF59E
    assert len({derive(seed, stream) for seed in range(50) for stream in ("a", "b")}) == 100


def test_draws_continue_a_generator() -> None:
    source = generator(3)
    first, second = draw((4,), [source]), draw((4,), [source])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("seed", [-1, SEED_LIMIT])
def test_seeds_that_torch_would_fold_into_others_are_refused(seed: int) -> None:
    with pytest.raises(OptionError, match="seed"):
        generator(seed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_seed_gives_the_same_noise_on_a_gpu() -> None:
    assert torch.equal(initial_noise((4, 8, 8), [5], "cuda").cpu(), initial_noise((4, 8, 8), [5]))
