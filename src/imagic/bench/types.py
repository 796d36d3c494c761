"""What the runner works with: items whose true edit may be known, their suite, the judge, and the methods on trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from imagic.core.frame import Box
from imagic.core.types import Backbone, Method


@dataclass(frozen=True)
class Pictures:
    """Images (3, S, S) in [-1, 1]; mask (1, S, S) in [0, 1], 1 where the edit may change the image; None where no truth
    or no mask is known. inside: the part that is picture and no padding, which alone is measured; None for all."""

    source: Tensor
    truth: Tensor | None = None
    mask: Tensor | None = None
    inside: Box | None = None

    def cut(self, image: Tensor) -> Tensor:
        """What is measured of an image (..., S, S)."""
        if self.inside is None:
            return image
        left, top, width, height = self.inside
        return image[..., top : top + height, left : left + width]


@dataclass(frozen=True)
class Item:
    """One edit.

    source_text, instruction: empty where the suite has none. source_facts, truth_facts: fact -> value; the facts that
    differ are what the edit asks for; empty where no truth is known. render: makes the pictures at the model's size and
    on its device, only when they are needed, so that a rerun costs nothing.
    """

    name: str
    group: str
    target_text: str
    source_text: str
    source_facts: Mapping[str, str]
    truth_facts: Mapping[str, str]
    render: Callable[[Backbone], Pictures]
    instruction: str = ""


class Judge(Protocol):
    """Reads facts from pictures and tells individuals apart. Images (B, 3, S, S) in [-1, 1].

    threshold: the likeness above which two pictures show the same individual.
    """

    threshold: float

    def read(self, images: Tensor) -> Sequence[Mapping[str, str]]:
        """One fact -> value per image."""

    def likeness(self, a: Tensor, b: Tensor) -> Tensor:
        """Per pair, how alike the individuals are: (B,), 1 for equal pictures."""


class Suite(Protocol):
    """A named set of edits in a fixed order."""

    @property
    def name(self) -> str: ...

    def items(self) -> Sequence[Item]: ...

    def judge(self) -> Judge | None:
        """None where no truth is known. A suite with a judge renders the truth of every item."""


@dataclass(frozen=True)
class Entry:
    """A method on trial under the name `label`: its preset, and option values that differ from it.

    with_source_text: give the method the suite's description of the input even if it can do without. strength: in place
    of the method's own, where no sweep says others; None for the method's own.
    """

    label: str
    method: Method
    preset: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] = field(default_factory=dict)
    with_source_text: bool = False
    strength: float | None = None

    @property
    def sees_source_text(self) -> bool:
        return self.with_source_text or "source_text" in self.method.texts
