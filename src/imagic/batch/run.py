"""A batch from its jobs to the folder of its results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from imagic.batch import engine
from imagic.batch.jobs import Job
from imagic.batch.results import Results
from imagic.batch.types import Crew, Summary, Tell
from imagic.core.types import Progress


def run(
    jobs: Sequence[Job],
    results: Results,
    crew: Crew,
    *,
    retry: int = 0,
    on_step: Tell | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Generator[Progress, None, Summary]:
    """What is left of the jobs, done by the crew, whose models are loaded only if anything is left.

    retry, on_step, say: as for engine.run. Raises OutputError as Results, and what the crew raises.
    """
    with results.opened():
        plan = results.plan(jobs)
        if not plan.tasks:
            return Summary(0, 0, plan.done)
        yield Progress(engine.LOADING, plan.done, plan.done + len(plan.tasks))
        with crew:
            return (
                yield from engine.run(
                    plan.tasks,
                    crew,
                    results.keep,
                    results.lost,
                    skipped=plan.done,
                    retry=retry,
                    on_step=on_step,
                    say=say,
                )
            )
