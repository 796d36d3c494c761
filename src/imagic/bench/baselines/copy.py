"""Return the input: never what was asked, and the most that can be kept."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from imagic.core.types import Ability, Backbone, Candidate, EditResult, FitRequest, Progress, State


@dataclass(frozen=True)
class CopyOptions:
    """There is nothing to choose."""


class Copy:
    """The input itself, at strength 0, once per seed."""

    name: ClassVar[str] = "copy"
    paper: ClassVar[str] = "Baseline: the input, unchanged"
    needs: ClassVar[frozenset[Ability]] = frozenset()
    texts: ClassVar[tuple[str, ...]] = ()
    FitOptions: ClassVar[type] = CopyOptions
    EditOptions: ClassVar[type] = CopyOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def fit(self, backbone: Backbone, request: FitRequest, options: CopyOptions) -> Generator[Progress, None, State]:
        yield Progress("copy", 1, 1)
        return State(self.name, {"image": request.image[0]}, {"fingerprint": backbone.fingerprint})

    def edit(
        self, backbone: Backbone, state: State, options: CopyOptions, seeds: Sequence[int]
    ) -> Generator[Progress, None, EditResult]:
        image = state.tensors["image"]
        yield Progress("copy", 1, 1)
        return EditResult([Candidate(image, 0.0, seed) for seed in seeds], reconstruction=image)
