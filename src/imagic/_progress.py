"""Running a computation that yields its progress: reporting, the time left, previews."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

import torch

from imagic.core.sampling import LatentProgress
from imagic.core.types import Backbone, Progress

OnProgress: TypeAlias = Callable[[Progress], None]
Clock: TypeAlias = Callable[[], float]
T = TypeVar("T")


def finish(
    work: Generator[Progress, None, T],
    on_progress: OnProgress | None = None,
    label: str = "",
    clock: Clock = time.monotonic,
) -> T:
    """The result of a computation that yields its progress, which is reported with `label` before each stage and with
    the seconds that the stage will still take.

    The callback may raise, core.errors.Cancelled or any other exception, which ends the computation at this step.
    Whatever happens, also in the callback, the computation is closed, so that it restores what it changed at once.
    clock: seconds, only ever forward.
    """
    pace = _Pace(clock)
    try:
        while True:
            progress = next(work)
            left = pace.left(progress)
            if on_progress is not None:
                on_progress(dataclasses.replace(progress, stage=label + progress.stage, seconds_left=left))
    except StopIteration as finished:
        result: T = finished.value
        return result
    finally:
        work.close()


def with_previews(
    on_progress: OnProgress, backbone: Backbone, seconds: float = 2.0, clock: Clock = time.monotonic
) -> OnProgress:
    """The callback, given a `preview` at most every so many seconds while pictures are sampled: the first of the batch,
    as the network would have it finished."""
    due = clock()

    def report(progress: Progress) -> None:
        nonlocal due
        if isinstance(progress, LatentProgress) and clock() >= due:
            with torch.no_grad():
                image = backbone.decode(progress.x0_hat[:1])[0].cpu()
            progress = dataclasses.replace(progress, preview=image)
            due = clock() + seconds
        on_progress(progress)

    return report


class _Pace:
    """How fast a stage goes, from its first step that is seen; a resumed one begins anywhere."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._stage, self._first, self._started = clock, "", 0, 0.0

    def left(self, progress: Progress) -> float | None:
        """Seconds to the end of the stage; None at its first step."""
        now = self._clock()
        if progress.stage != self._stage:
            self._stage, self._first, self._started = progress.stage, progress.step, now
        done = progress.step - self._first
        return (now - self._started) / done * (progress.total - progress.step) if done > 0 else None
