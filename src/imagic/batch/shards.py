"""A part of a list, for runs side by side that know nothing of each other, such as those of a SLURM array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from imagic.core.errors import OptionError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1: every count-th item. Shards write their own files and may run side by side."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise OptionError(f"Shard {self.index}/{self.count} does not exist: use 1/{self.count} up to {self.count}.")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "i/n", i from 1 to n. Raises OptionError for anything else."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(count)):
            raise OptionError(f"A shard is written i/n, such as 1/4, not '{text}'.")
        return cls(int(index), int(count))

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this part."""
        return items[self.index - 1 :: self.count]

    def file_name(self, stem: str) -> str:
        """The name of this part's JSON lines, such as rows.jsonl for a single part, or rows-2-of-5.jsonl."""
        return f"{stem}.jsonl" if self.count == 1 else f"{stem}-{self.index}-of-{self.count}.jsonl"


ALL = Shard()  # of one part
