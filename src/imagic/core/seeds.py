"""Seeds: one CPU generator per image, so that a seed means the same picture on any device and in any batch.

Named streams are derived from a seed by hashing, so that two uses of one seed never share their numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from imagic.core.errors import OptionError

# torch's CPU generator looks at 32 bits of a seed only: larger seeds would silently repeat smaller ones.
SEED_LIMIT = 2**32


def generator(seed: int) -> torch.Generator:
    """A CPU generator. Raises OptionError for a seed outside 0 to 2^32 - 1."""
    if not 0 <= seed < SEED_LIMIT:
        raise OptionError(f"A seed must lie between 0 and {SEED_LIMIT - 1}, not {seed}.")
    return torch.Generator().manual_seed(seed)


def derive(seed: int, stream: str) -> int:
    """The seed of a named stream: the same on every machine, unrelated between streams and between seeds."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEED_LIMIT


def draw(shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device | str = "cpu") -> Tensor:
    """Standard normal noise (N, *shape), float32: row i from generator i, drawn on the CPU and then moved."""
    rows = [torch.randn(*shape, generator=generator) for generator in generators]
    return torch.stack(rows).to(device)


def initial_noise(shape: Sequence[int], seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Noise (N, *shape) for N seeds; row i depends on seed i alone. shape: (C, h, w).

    These are the numbers that a diffusers pipeline draws from a CPU generator with that seed.
    """
    return draw(shape, [generator(seed) for seed in seeds], device)
