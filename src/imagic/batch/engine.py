"""Tasks to workers, rows from them: each task ends as one row, whatever becomes of the workers.

The loop knows no models and no processes: a `Crew` hides where the workers are, and who calls says where rows go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from imagic.batch.queueing import Queue
from imagic.batch.types import Crew, Died, Row, Summary, Task, Tell
from imagic.core.types import Progress

# A task whose workers die so often while they are at work on it is given up: it is likely to be the cause.
MOST_DEATHS = 3
LOADING = "loading the model"


def opened(crew: Crew) -> Generator[Progress, None, Mapping[str, Any]]:
    """The facts of the first worker that is ready, within the crew's context. Raises what opening its work raised."""
    while (facts := crew.facts()) is None:
        yield Progress(LOADING, 0, 1)
        crew.events(lambda worker, progress: None)
    return facts


def run(
    tasks: Sequence[Task],
    crew: Crew,
    keep: Callable[[Task, Row], Mapping[str, float]],
    lost: Callable[[Task, str], Row],
    *,
    skipped: int = 0,
    retry: int = 0,
    on_step: Tell | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Generator[Progress, None, Summary]:
    """Every task done by the crew, within its context.

    keep: puts the last row of a task where it belongs; what it returns is shown. lost: the row of a task that is given
    up since its workers died, with the sentence that says so. skipped: tasks that were done before, which count as
    progress. retry: how often a task with an error is tried again, after all others. on_step: hears of the steps
    within tasks. say: hears of workers that died.

    Raises what `keep` raises, and what work raises that is not of one task alone.
    """
    queue, in_hand = Queue(tasks), dict[str, Task]()
    failures, deaths = Counter[str](), Counter[str]()
    total, written, failed = skipped + len(tasks), 0, 0
    shown = LOADING

    def tell(worker: str, progress: Progress) -> None:
        if on_step is not None and worker in in_hand:
            stage = f"{in_hand[worker].key}: {progress.stage} {progress.step}/{progress.total}"
            on_step(Progress(stage, skipped + written, total, progress.values))

    while written < len(tasks):
        for worker in crew.idle():
            if (task := queue.next_for(worker)) is not None:
                in_hand[worker] = task
                crew.give(worker, task)
                shown = task.key
        events = crew.events(tell)
        for event in events:
            if isinstance(event, Died):
                say(f"A worker ended ({event.how}); what it had in hand is done again.")
                queue.leave(event.worker)
                if (task := in_hand.pop(event.worker, None)) is None:
                    continue
                deaths[task.key] += 1
                if deaths[task.key] < MOST_DEATHS:
                    queue.first(task)
                    continue
                row = lost(task, f"Its worker ended {MOST_DEATHS} times, the last time so: {event.how}.")
            else:
                task, row = in_hand.pop(event.worker), event.row
                failures[task.key] += row["error"] is not None
                if row["error"] is not None and failures[task.key] <= retry:
                    queue.last(task)
                    continue
            news = keep(task, row)
            written += 1
            failed += row["error"] is not None
            yield Progress(task.key, skipped + written, total, news)
        if not events:  # so that who runs this can end it while nothing happens
            yield Progress(shown, skipped + written, total)
    return Summary(written, failed, skipped)
