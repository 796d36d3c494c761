"""The folder of results: what is done in it, what is left, and how a picture gets there.

A worker writes a picture into a hidden folder under the hash of what was asked; then its line is put into the report,
and then the picture is renamed. So a picture that has its name has its line, whatever was killed when; a line whose
picture was not renamed yet gets it at the next start; and what has no line is made again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from imagic.batch import journal
from imagic.batch.jobs import MOST_TOGETHER, Job
from imagic.batch.shards import Shard
from imagic.batch.types import Row, Task
from imagic.core.errors import OutputError
from imagic.core.files import write_bytes

WORKPLACE = ".imagic-batch"
REPORT = "report"


@dataclass(frozen=True)
class Plan:
    """tasks: what is left to do. done: how many jobs are."""

    tasks: Sequence[Task]
    done: int


class Results:
    """The results under `folder`, of which one process at a time makes those of a shard. settings: of the whole run,
    such as the model, which decide a picture beside its job. overwrite: whether what other settings made may go."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], shard: Shard, overwrite: bool = False) -> None:
        self.folder, self.report = folder, folder / shard.file_name(REPORT)
        self._settings, self._shard, self._overwrite = settings, shard, overwrite
        self._workplace = folder / WORKPLACE / self.report.stem
        self._there: dict[Path, set[str]] = {}
        self._within: set[Path] = set()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Within, this process alone makes the results of the shard. Raises OutputError where another does, or where
        the folder cannot be written to."""
        lock = FileLock(self._workplace.with_suffix(".lock"))
        try:
            self._workplace.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"Another run makes {self.report} now: wait for its end, or name another folder."
            ) from error
        except OSError as error:
            raise OutputError(f"The folder {self.folder} cannot be written to ({error}): name another.") from error
        try:
            yield
            shutil.rmtree(self._workplace, ignore_errors=True)
        finally:
            lock.release()

    def plan(self, jobs: Sequence[Job]) -> Plan:
        """What is left of the shard's jobs; those that one fit serves are in one shard, and in groups.

        Ends what a killed run left half-done, and takes the lines of what is left out of the report. Raises OutputError
        where a file stands that is not the result of such a job, unless it may be overwritten.
        """
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.fit_key(), []).append(job)
        rows, tasks, done, strangers = self._rows(), list[Task](), 0, list[str]()
        for fit, group in self._shard.of(list(groups.items())):
            left = []
            for job in group:
                asked = job.asked(self._settings)
                if self._is_done(job.output, asked, rows.get(job.output)):
                    done += 1
                    continue
                if self._exists(job.output):
                    strangers.append(job.output)
                left.append((job, asked))
            for index, (job, asked) in enumerate(left):
                values = {
                    "job": job.values(),
                    "asked": asked,
                    "fit": fit,
                    "place": str(self._staged(asked, job.output)),
                }
                tasks.append(Task(job.output, f"{fit} {index // MOST_TOGETHER}", values))
        if strangers and not self._overwrite:
            raise OutputError(
                f"{strangers[0]} is in {self.folder} already, made from something else or elsewhere"
                f" ({len(strangers)} such): name another folder or other names, or ask to overwrite."
            )
        self._forget({task.key for task in tasks})
        return Plan(tasks, done)

    def keep(self, task: Task, row: Row) -> Mapping[str, float]:
        """Put the line of a job into the report, and its picture where it belongs. Raises OutputError."""
        job = task.values["job"]
        if row["error"] is None and os.path.lexists(self._path(task.key)) and not self._overwrite:
            row = {**row, "error": f"{task.key} appeared in the folder meanwhile: it was left as it is."}
        line = {
            "output": task.key,
            "state": "done" if row["error"] is None else "failed",
            "error": row["error"],
            **{name: job[name] for name in ("image", "text", "method", "fit_seed", "seed")},
            "strength": job["strength"],
            **row,
            "asked": task.values["asked"],
        }
        journal.append(self.report, line)
        if row["error"] is None:
            self._publish(task.key, task.values["asked"])
        return {name: float(row[name]) for name in ("strength",) if row.get(name) is not None}

    def lost(self, task: Task, how: str) -> Row:
        """The row of a job whose workers died."""
        return {"error": how}

    def _rows(self) -> dict[str, Row]:
        """By output. Of several, that of this report holds, but a failure never replaces a result."""
        rows: dict[str, Row] = {}
        for path in sorted(self.folder.glob(f"{REPORT}*.jsonl"), key=lambda path: (path == self.report, path)):
            for output, row in journal.read(path, _output):
                if output not in rows or row["error"] is None:
                    rows[output] = row
        return rows

    def _is_done(self, output: str, asked: str, row: Row | None) -> bool:
        if row is None or row["error"] is not None or row["asked"] != asked:
            return False
        if self._staged(asked, output).exists():
            self._publish(output, asked)
            return True
        return self._exists(output)

    def _publish(self, output: str, asked: str) -> None:
        path = self._path(output)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._staged(asked, output).replace(path)
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error}): mend that and run again; nothing is lost."
            ) from error

    def _staged(self, asked: str, output: str) -> Path:
        return self._workplace / f"{asked}{Path(output).suffix}"

    def _path(self, output: str) -> Path:
        """Raises OutputError where a link leads out of the folder."""
        path = self.folder / output
        if path.parent not in self._within:
            if not path.parent.resolve().is_relative_to(self.folder.resolve()):
                raise OutputError(f"{output} would lie outside {self.folder}, through a link: name another folder.")
            self._within.add(path.parent)
        return path

    def _exists(self, output: str) -> bool:
        """Whether the file was there when it was first asked about its folder: reading that once is much cheaper."""
        path = self._path(output)
        if path.parent not in self._there:
            self._there[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
        return path.name in self._there[path.parent]

    def _forget(self, outputs: set[str]) -> None:
        """Take lines out of the report, and with them an unfinished one."""
        journal.repair(self.report)
        rows = journal.read(self.report, _output)
        kept = [row for output, row in rows if output not in outputs]
        if len(kept) < len(rows):
            write_bytes(self.report, b"".join(map(journal.line, kept)), overwrite=True)


def _output(row: Row) -> str:
    output: str = row["output"]
    return output
