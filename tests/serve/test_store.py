"""The job store: leases, deaths, keys and limits, with a clock that the test sets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imagic.core.errors import OutputError
from imagic.serve.store import Conflict, Full, Job, JobState, Store

LIMITS = {"max_queue": 100, "max_per_client": 100}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    store = Store(tmp_path / "jobs.sqlite", clock)
    store.create()
    return store


def add(store: Store, id: str, client: str = "a", body: str = "body", **values: Any) -> Job:
    return store.add(id, {"text": id}, client, body, **(LIMITS | values))


def state(store: Store, id: str) -> JobState:
    job = store.get(id)
    assert job is not None
    return job.state


def test_jobs_are_taken_in_the_order_of_asking(store: Store) -> None:
    assert [add(store, id).position for id in "xyz"] == [1, 2, 3]
    taken = [store.lease("w", 10) for _ in range(4)]
    assert [job and job.id for job in taken] == ["x", "y", "z", None]
    assert taken[0] is not None
    assert (taken[0].request, taken[0].attempts, taken[0].position) == ({"text": "x"}, 1, 0)


def test_no_job_is_taken_twice(store: Store) -> None:
    for number in range(40):
        add(store, str(number))
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda worker: store.lease(str(worker), 10), range(40)))
    assert sorted(int(job.id) for job in taken if job) == list(range(40))


def test_a_lease_that_runs_out_is_another_workers(store: Store, clock: Clock) -> None:
    add(store, "x")
    store.lease("first", 10)
    clock.now += 9
    assert store.prolong("x", "first", 10, {"stage": "fit", "step": 3})
    clock.now += 9
    assert store.lease("second", 10) is None
    clock.now += 2
    taken = store.lease("second", 10)
    assert taken is not None
    assert (taken.id, taken.attempts) == ("x", 2)
    assert not store.prolong("x", "first", 10)
    assert not store.end("x", "first", JobState.DONE)
    assert state(store, "x") is JobState.RUNNING
    assert store.end("x", "second", JobState.DONE, result={"images": []})
    assert state(store, "x") is JobState.DONE


def test_a_job_that_kills_two_workers_is_failed(store: Store) -> None:
    add(store, "x")
    store.lease("first", 10)
    store.worker_died("other", "it was killed by SIGKILL")
    assert state(store, "x") is JobState.RUNNING
    store.worker_died("first", "it was killed by SIGKILL")
    assert state(store, "x") is JobState.QUEUED
    store.lease("second", 10)
    store.prolong("x", "second", 10, {"stage": "network", "step": 7})
    store.worker_died("second", "it was killed by SIGSEGV")
    job = store.get("x")
    assert job is not None
    assert (job.state, job.ended) == (JobState.FAILED, 1000.0)
    assert job.error == (
        "This edit killed its worker twice, and is not begun again; the last time, it was killed by SIGSEGV, at step 7"
        " of 'network'."
    )
    assert store.lease("third", 10) is None


def test_a_lost_lease_counts_as_a_death(store: Store, clock: Clock) -> None:
    add(store, "x")
    for worker in ("first", "second"):
        assert store.lease(worker, 10)
        clock.now += 11
    assert store.lease("third", 10) is None
    assert state(store, "x") is JobState.FAILED


def test_a_worker_that_is_stopped_costs_the_job_nothing(store: Store) -> None:
    add(store, "x")
    for _ in range(5):
        job = store.lease("w", 10)
        assert job is not None
        assert job.attempts == 1
        store.give_back("w")
        assert state(store, "x") is JobState.QUEUED


def test_a_cancelled_job_whose_worker_died_is_not_begun_again(store: Store) -> None:
    add(store, "x")
    store.lease("w", 10)
    job = store.cancel("x")
    assert job is not None
    assert (job.state, job.cancel) == (JobState.RUNNING, True)
    assert not store.prolong("x", "w", 10)
    store.worker_died("w", "it was killed")
    assert state(store, "x") is JobState.CANCELLED


def test_an_ended_job_is_not_cancelled(store: Store) -> None:
    add(store, "x")
    store.lease("w", 10)
    store.end("x", "w", JobState.FAILED, "why")
    job = store.cancel("x")
    assert job is not None
    assert (job.state, job.error, job.cancel) == (JobState.FAILED, "why", False)
    assert store.cancel("none") is None


def test_a_key_gives_the_same_job_and_no_other_body(store: Store) -> None:
    first = add(store, "x", key="k")
    assert add(store, "y", key="k") == first
    assert store.of_key("a", "k", "body") == first
    with pytest.raises(Conflict):
        add(store, "z", key="k", body="other")
    assert add(store, "z", client="b", key="k", body="other").id == "z"
    assert [add(store, id).id for id in ("1", "2")] == ["1", "2"]  # without a key, each is new
    assert store.of_key("a", None, "body") is None


def test_limits(store: Store) -> None:
    limits = {"max_queue": 3, "max_per_client": 2}
    add(store, "1", **limits)
    add(store, "2", **limits)
    with pytest.raises(Full) as full:
        add(store, "3", **limits)
    assert full.value.of_client
    add(store, "3", client="b", **limits)
    with pytest.raises(Full) as full:
        add(store, "4", client="c", **limits)
    assert not full.value.of_client
    store.lease("w", 10)
    with pytest.raises(Full):  # one that runs counts
        add(store, "4", client="c", **limits)
    store.end("1", "w", JobState.DONE)
    add(store, "4", **limits)


def test_every_change_is_another_version(store: Store) -> None:
    versions = [add(store, "x").version]

    def note() -> None:
        job = store.get("x")
        assert job is not None
        versions.append(job.version)

    store.lease("w", 10)
    note()
    store.prolong("x", "w", 10, {"stage": "fit", "step": 1})
    note()
    store.cancel("x")
    note()
    store.end("x", "w", JobState.CANCELLED)
    note()
    assert versions == sorted(set(versions))
    store.prolong("x", "w", 10)
    note()
    assert versions[-1] == versions[-2]


def test_a_file_that_is_no_store_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(OutputError, match=r"jobs\.sqlite cannot be read"):
        Store(tmp_path / "jobs.sqlite").create()
