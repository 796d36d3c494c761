"""The jobs, in one SQLite file that server and worker share (WAL): what is committed there survives both.

A worker takes a job for as long as its lease runs and prolongs it while it works. Where a worker dies, the job is
queued again, and at the second death failed, so that one bad job cannot end every worker there is.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from imagic.core.errors import OutputError

MOST_STARTS = 2
BUSY_SECONDS = 10.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    ended REAL,
    state TEXT NOT NULL DEFAULT 'queued',
    request TEXT NOT NULL,
    parent TEXT,
    client TEXT NOT NULL,
    idempotency_key TEXT,
    body TEXT NOT NULL,
    worker TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    lease_until REAL NOT NULL DEFAULT 0,
    cancel INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 1,
    progress TEXT,
    error TEXT,
    result TEXT,
    UNIQUE (client, idempotency_key)
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, seq);
CREATE INDEX IF NOT EXISTS by_parent ON jobs (parent);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Full(Exception):
    """No further job is taken now. of_client: this client has too many; else there are too many of all."""

    def __init__(self, of_client: bool) -> None:
        super().__init__("the client's share is full" if of_client else "the queue is full")
        self.of_client = of_client


class Conflict(Exception):
    """An idempotency key that came with another request before."""


@dataclass(frozen=True)
class Job:
    """One edit. created, ended: seconds since 1970. version: grows with every change. cancel: it was asked to end.
    attempts: how often a worker began it. position: in the queue from 1, 0 for what does not wait."""

    seq: int
    id: str
    created: float
    ended: float | None
    state: JobState
    request: Mapping[str, Any]
    parent: str | None
    client: str
    body: str
    worker: str | None
    attempts: int
    cancel: bool
    version: int
    progress: Mapping[str, Any] | None
    error: str | None
    result: Mapping[str, Any] | None
    position: int


@dataclass(frozen=True)
class Store:
    """The file of jobs; clock: seconds since 1970. Raises OutputError where the file cannot be read or written."""

    path: Path
    clock: Callable[[], float] = time.time

    def create(self) -> None:
        """The tables, where they are missing."""
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)

    def add(
        self,
        id: str,
        request: Mapping[str, Any],
        client: str,
        body: str,
        key: str | None = None,
        parent: str | None = None,
        *,
        max_queue: int,
        max_per_client: int,
    ) -> Job:
        """Queue a job, or find the one of the same client and idempotency key. body: a hash of all that was asked.

        Raises Conflict for a key that came with another body, and Full.
        """
        with self._change() as db:
            if (found := self._of_key(db, client, key, body)) is not None:
                return found
            waiting = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')"
            if db.execute(waiting).fetchone()[0] >= max_queue:
                raise Full(of_client=False)
            if db.execute(f"{waiting} AND client = ?", (client,)).fetchone()[0] >= max_per_client:
                raise Full(of_client=True)
            db.execute(
                "INSERT INTO jobs (id, created, request, parent, client, idempotency_key, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, self.clock(), json.dumps(request, allow_nan=False), parent, client, key, body),
            )
            return _job(_row(db, id))

    def of_key(self, client: str, key: str | None, body: str) -> Job | None:
        """The job that this client's key made. Raises Conflict as `add`."""
        with self._open() as db:
            return self._of_key(db, client, key, body)

    def get(self, id: str) -> Job | None:
        with self._open() as db:
            row = _row(db, id)
            return None if row is None else _job(row)

    def page(self, limit: int, before: int | None = None) -> list[Job]:
        """The newest jobs, those before the job with that `seq`."""
        with self._open() as db:
            rows = db.execute(
                f"{SELECT} WHERE ? IS NULL OR seq < ? ORDER BY seq DESC LIMIT ?", (before, before, limit)
            ).fetchall()
            return [_job(row) for row in rows]

    def family(self, id: str, limit: int) -> list[Job]:
        """The jobs of one fit, the newest first: the one that made it, and those made again from it or from each other.
        A job that was deleted does not part them, since its id stays with those made from it."""
        with self._open() as db:
            rows = db.execute(f"{FAMILY} {SELECT} WHERE id IN down ORDER BY seq DESC LIMIT ?", (id, limit)).fetchall()
            return [_job(row) for row in rows]

    def ids(self) -> set[str]:
        with self._open() as db:
            return {row["id"] for row in db.execute("SELECT id FROM jobs")}

    def counts(self) -> dict[JobState, int]:
        """How many jobs there are in each state."""
        with self._open() as db:
            found = dict(db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in JobState}

    def cancel(self, id: str) -> Job | None:
        """End a job that waits, at once; ask one that runs to end; leave one that has ended."""
        with self._change() as db:
            db.execute(
                "UPDATE jobs SET cancel = 1, version = version + 1, ended = iif(state = 'queued', ?, NULL),"
                " state = iif(state = 'queued', 'cancelled', state) WHERE id = ? AND state IN ('queued', 'running')",
                (self.clock(), id),
            )
            row = _row(db, id)
            return None if row is None else _job(row)

    def delete(self, id: str) -> bool:
        """Whether the job is gone; one that runs is not deleted."""
        with self._change() as db:
            return db.execute("DELETE FROM jobs WHERE id = ? AND state != 'running'", (id,)).rowcount > 0

    def lease(self, worker: str, seconds: float) -> Job | None:
        """The job that has waited longest, for this worker for so many seconds; None where nothing waits."""
        with self._change() as db:
            late = db.execute(f"{SELECT} WHERE state = 'running' AND lease_until < ?", (self.clock(),)).fetchall()
            for row in late:
                self._put_back(db, _job(row), "it did not answer any more")
            row = db.execute(
                "UPDATE jobs SET state = 'running', worker = ?, attempts = attempts + 1, lease_until = ?,"
                " version = version + 1, progress = NULL WHERE seq ="
                " (SELECT seq FROM jobs WHERE state = 'queued' ORDER BY seq LIMIT 1) RETURNING id",
                (worker, self.clock() + seconds),
            ).fetchone()
            return None if row is None else _job(_row(db, row["id"]))

    def prolong(self, id: str, worker: str, seconds: float, progress: Mapping[str, Any] | None = None) -> bool:
        """Keep a lease, and tell how far the job is. Returns whether to go on: false when the job is to be cancelled,
        or is no longer this worker's."""
        with self._change() as db:
            row = db.execute(
                "UPDATE jobs SET lease_until = ?, progress = coalesce(?, progress),"
                " version = version + (? IS NOT NULL)"
                " WHERE id = ? AND worker = ? AND state = 'running' RETURNING cancel",
                (self.clock() + seconds, *(2 * [_dumped(progress)]), id, worker),
            ).fetchone()
        return row is not None and not row["cancel"]

    def end(
        self, id: str, worker: str, state: JobState, error: str | None = None, result: Mapping[str, Any] | None = None
    ) -> bool:
        """A job's end, by the worker that has it. Returns whether it still had it."""
        with self._change() as db:
            return (
                db.execute(
                    "UPDATE jobs SET state = ?, error = ?, result = ?, ended = ?, version = version + 1, worker = NULL"
                    " WHERE id = ? AND worker = ? AND state = 'running'",
                    (state, error, _dumped(result), self.clock(), id, worker),
                ).rowcount
                > 0
            )

    def give_back(self, worker: str) -> None:
        """Queue again what a worker has that stops for no fault of the job: it counts as never begun."""
        with self._change() as db:
            db.execute("UPDATE jobs SET attempts = attempts - 1 WHERE worker = ? AND state = 'running'", (worker,))
            for row in db.execute(f"{SELECT} WHERE worker = ? AND state = 'running'", (worker,)).fetchall():
                self._put_back(db, _job(row), "it was stopped")

    def worker_died(self, worker: str | None, how: str) -> None:
        """Queue again, or at the second time fail, what a dead worker had; None: whatever runs, since no worker is
        left. how: the rest of "the last time, ..."."""
        with self._change() as db:
            rows = db.execute(
                f"{SELECT} WHERE state = 'running' AND (? IS NULL OR worker = ?)", (worker, worker)
            ).fetchall()
            for row in rows:
                self._put_back(db, _job(row), how)

    def set_fact(self, name: str, value: Any) -> None:
        """Something that the worker tells the server, as JSON."""
        with self._change() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def fact(self, name: str) -> Any:
        """None where it was never set."""
        with self._open() as db:
            row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row["value"])

    def _of_key(self, db: sqlite3.Connection, client: str, key: str | None, body: str) -> Job | None:
        row = db.execute(f"{SELECT} WHERE client = ? AND idempotency_key = ?", (client, key)).fetchone()
        if row is None:
            return None
        if row["body"] != body:
            raise Conflict
        return _job(row)

    def _put_back(self, db: sqlite3.Connection, job: Job, how: str) -> None:
        state, error = JobState.QUEUED, None
        if job.cancel:
            state = JobState.CANCELLED
        elif job.attempts >= MOST_STARTS:
            state = JobState.FAILED
            error = f"This edit killed its worker twice, and is not begun again; the last time, {how}{_place(job)}."
        ended = None if state is JobState.QUEUED else self.clock()
        db.execute(
            "UPDATE jobs SET state = ?, error = ?, ended = ?, worker = NULL, version = version + 1 WHERE seq = ?",
            (state, error, ended, job.seq),
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                yield db
        except sqlite3.Error as error:
            raise OutputError(f"The jobs in {self.path.name} cannot be read or written ({error}).") from error

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else can write in; committed when the block ends well."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


SELECT = (
    "SELECT *, iif(state = 'queued', (SELECT count(*) FROM jobs AS others WHERE others.state = 'queued'"
    " AND others.seq <= jobs.seq), 0) AS position FROM jobs"
)

# Up from a job to the first of its fit, and down from there.
FAMILY = (
    "WITH RECURSIVE"
    " up(id) AS (SELECT ? UNION SELECT parent FROM jobs JOIN up USING (id) WHERE parent IS NOT NULL),"
    " down(id) AS (SELECT id FROM up UNION SELECT jobs.id FROM jobs JOIN down ON jobs.parent = down.id)"
)


def _row(db: sqlite3.Connection, id: str) -> Any:
    return db.execute(f"{SELECT} WHERE id = ?", (id,)).fetchone()


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in Job.__dataclass_fields__}
    loaded = {name: values[name] and json.loads(values[name]) for name in ("request", "progress", "result")}
    return Job(**{**values, **loaded, "state": JobState(row["state"]), "cancel": bool(row["cancel"])})


def _dumped(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, allow_nan=False)


def _place(job: Job) -> str:
    return f", at step {job.progress['step']} of '{job.progress['stage']}'" if job.progress else ""
