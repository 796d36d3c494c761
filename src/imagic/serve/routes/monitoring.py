"""Whether the service is well, in one word and in Prometheus' text format."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from imagic import __version__
from imagic.serve.routes.common import Serving, errors
from imagic.serve.store import JobState

router = APIRouter(tags=["monitoring"])
UNKNOWN = errors()


class Health(BaseModel):
    """status: "ok"; "starting" while the model loads; "failing" when it cannot be loaded or the worker is dead."""

    status: Literal["ok", "starting", "failing"]
    version: str
    needs_key: bool
    error: str | None


@router.get("/health", responses={503: {"model": Health, "description": "The service is failing."}, 403: UNKNOWN[403]})
def health(request: Request, response: Response, service: Serving) -> Health:
    """Whether edits can be made now; needs no key."""
    facts, supervisor = service.facts(), request.app.state.supervisor
    dead = supervisor is not None and supervisor.pid is None
    status: Literal["ok", "starting", "failing"] = "ok" if "fingerprint" in facts else "starting"
    if facts.get("error") or (dead and status == "ok"):
        status = "failing"
        response.status_code = 503
    needs_key = request.app.state.key is not None
    return Health(status=status, version=__version__, needs_key=needs_key, error=facts.get("error"))


@router.get("/metrics", response_class=PlainTextResponse, responses=UNKNOWN)
def metrics(request: Request, service: Serving) -> PlainTextResponse:
    """Counts of jobs, requests and workers."""
    state, counts = request.app.state, service.store.counts()
    supervisor = state.supervisor
    lines = [
        *_metric("imagic_jobs", "gauge", "Edits that are kept, by state.", _by_state(counts)),
        *_metric("imagic_queue_limit", "gauge", "Most unfinished edits.", [("", service.settings.max_queue)]),
        *_metric(
            "imagic_http_requests_total",
            "counter",
            "Answers since the start, by method and status.",
            [(f'{{method="{method}",status="{code}"}}', n) for (method, code), n in sorted(state.answers.items())],
        ),
        *_metric("imagic_uptime_seconds", "gauge", "Since the start.", [("", time.monotonic() - state.started)]),
    ]
    if supervisor is not None:
        lines += _metric(
            "imagic_worker_up", "gauge", "Whether the worker lives.", [("", int(supervisor.pid is not None))]
        )
        lines += _metric("imagic_worker_starts_total", "counter", "Workers since the start.", [("", supervisor.starts)])
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _by_state(counts: dict[JobState, int]) -> list[tuple[str, int]]:
    return [(f'{{state="{state}"}}', count) for state, count in counts.items()]


def _metric(name: str, kind: str, about: str, values: Iterable[tuple[str, float]]) -> list[str]:
    """The lines of one metric. values: labels and number."""
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *(f"{name}{labels} {value}" for labels, value in values)]
