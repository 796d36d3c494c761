"""A running fit kept in one file, from which it goes on with the same numbers after it was ended, by whatever.

A fit is a row of *stages*. Each says after every step where it stands; every so many seconds all of them are written,
whole or not at all. A stage that a checkpoint holds begins where it stood there, and one that was finished is passed
over. Without a file nothing is kept, and a stage costs nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from imagic.core import tensor_files
from imagic.core.errors import OutputError, StateError

KIND = tensor_files.Kind("imagic-checkpoint", 1, noun="checkpoint", advice="delete it", sealed=("key", "facts"))
SECONDS = 30.0
# Large models take seconds to write: writing gets at most this share of the time.
LARGEST_SHARE = 0.1

Tensors: TypeAlias = Mapping[str, Tensor]


class Checkpoint:
    """What is kept of one fit. place: where it stands on the disk, such as "step 12 of stage 'network'"; else empty.

    path: None keeps nothing. key: says which fit it is; a file of another one is not taken. seconds: between two
    writings, of a clock that only goes forward; more where the writing itself takes long. say: hears a sentence when a
    checkpoint cannot be written, once; the fit goes on without.
    Raises StateError for a file that is damaged, no checkpoint, or another fit's.
    """

    def __init__(
        self,
        path: Path | None = None,
        key: str = "",
        seconds: float = SECONDS,
        say: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._key, self._seconds, self._say, self._clock = path, key, seconds, say, clock
        self._stages: list[Stage] = []
        self._found: dict[str, Tensor] = {}
        self._facts: dict[str, Any] = {}
        self.place = ""
        self._changed = False
        self._due = clock() + seconds
        if path is not None and os.path.exists(path):
            self._found, header, self._facts = tensor_files.read(path, KIND)
            if header["key"] != key:
                raise StateError(f"'{path}' is the checkpoint of another fit: name another file, or delete it.")
            self.place = _place(self._facts)

    def stage(self, name: str) -> Stage:
        """The stage of that name, where the checkpoint left it, or at step 0. To be called once for each name."""
        prefix = f"{name}/"
        # Taken out, so that nothing here holds on to them: they may be as large as the network.
        tensors = {key.removeprefix(prefix): self._found.pop(key) for key in [*self._found] if key.startswith(prefix)}
        stage = Stage(name, self, tensors, self._facts.get(name))
        if self._path is not None:
            self._stages.append(stage)
        return stage

    def reached(self) -> None:
        """A stage stands well: write it if it is time."""
        self._changed = True
        if self._path is not None and self._clock() >= self._due:
            self.save()

    def save(self) -> bool:
        """Write now where the fit stands; whether a checkpoint, this or an earlier one, is on the disk.

        Not written: what is in the middle of an update, and what holds a number that is not finite.
        """
        if self._path is None:
            return False
        stages, started = [stage for stage in self._stages if stage.begun], self._clock()
        if not self._changed or not all(stage.stands for stage in stages):
            return os.path.exists(self._path)
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {}
        for stage in stages:
            own, facts[stage.name] = stage.snapshot()
            tensors |= {f"{stage.name}/{name}": value for name, value in own.items()}
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            return os.path.exists(self._path)
        header = {"key": self._key, "facts": json.dumps(facts)}
        try:
            tensor_files.write(self._path, KIND, tensors, header, overwrite=True)
        except OutputError as error:
            self._say(f"{error} The fit goes on without a checkpoint.")
            self._path = None
            return False
        self.place, self._changed = _place(facts), False
        now = self._clock()
        self._due = now + max(self._seconds, (now - started) / LARGEST_SHARE)
        return True

    def remove(self) -> None:
        """The fit is finished: its file goes, and what the stages held with it."""
        self._stages.clear()
        self._found, self._facts = {}, {}
        if self._path is not None:
            with contextlib.suppress(OSError):  # the next one of this key takes its place
                self._path.unlink()


class Stage:
    """One stage of a fit.

    step: how many steps are done. finished: nothing is left to do. values: plain JSON values given with the last step.
    tensors: those given with the last step, or found in the checkpoint.
    """

    def __init__(self, name: str, owner: Checkpoint, found: dict[str, Tensor], facts: Mapping[str, Any] | None) -> None:
        facts = facts or {"step": 0, "finished": False, "values": {}}
        self.name, self.tensors = name, found
        self.step: int = facts["step"]
        self.finished: bool = facts["finished"]
        self.values: dict[str, Any] = facts["values"]
        self.begun, self.stands = bool(found), True
        self._owner = owner
        self._held: list[Callable[[], Tensors]] = []

    def holds(self, tensors: Callable[[], Tensors]) -> None:
        """Tensors that are changed in place: `changing` says before they change, and they are written as they are when
        the time comes. Those of the checkpoint under the same names have been put back by now, and are let go."""
        self._held.append(tensors)
        for name in tensors():
            self.tensors.pop(name, None)

    def changing(self) -> None:
        """From here to the next `reached` the stage is between two steps, and not written."""
        self.stands = False

    def reached(
        self,
        step: int,
        tensors: Tensors | None = None,
        values: Mapping[str, Any] | None = None,
        *,
        finished: bool = False,
    ) -> None:
        """`step` steps are done. tensors: beside those that it holds, not changed in place afterwards; values: plain
        JSON values."""
        self.step, self.finished, self.begun, self.stands = step, finished, True, True
        self.tensors, self.values = dict(tensors or {}), dict(values or {})
        self._owner.reached()

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and facts to be written."""
        held = {name: value for tensors in self._held for name, value in tensors().items()}
        return {**self.tensors, **held}, {"step": self.step, "finished": self.finished, "values": self.values}


def _place(facts: Mapping[str, Any]) -> str:
    name = list(facts)[-1]
    return f"step {facts[name]['step']} of stage '{name}'"
