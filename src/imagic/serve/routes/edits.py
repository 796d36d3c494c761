"""Edits: made, listed, watched, ended, made again from their fits, removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from imagic.serve.requests import AgainRequest
from imagic.serve.routes import bodies
from imagic.serve.routes.common import Client, Found, Key, Serving, errors
from imagic.serve.service import Service, ended
from imagic.serve.store import Job
from imagic.serve.views import EditView, Family, History, edit_view

LOOK = 0.2  # seconds between two looks at a job that is watched
ALIVE = 15.0  # seconds after which a silent stream says that it lives
router = APIRouter(prefix="/edits", tags=["edits"])
EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"const": "edit"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
ACCEPTED = errors(400, 409, 413, 415, 422, 429, 503)
SAME: dict[int | str, dict[str, Any]] = {
    200: {"model": EditView, "description": "The edit that this idempotency key made before."}
}


@router.post("", status_code=202, responses={**SAME, **ACCEPTED}, openapi_extra=bodies.description())
async def make(request: Request, response: Response, service: Serving, client: Client, key: Key = None) -> EditView:
    """Queue an edit of a picture. The answer comes at once; watch `/edits/{id}/events`."""
    asked = await bodies.read_edit(request, service.settings.max_bytes)
    return _accepted(service, response, *await run_in_threadpool(service.submit, asked, client, key))


@router.get("", responses=errors(422))
def history(
    service: Serving,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="`next` of the page before.")] = None,
) -> History:
    """Every edit, the newest first."""
    jobs = service.store.page(limit + 1, before)
    shown = jobs[:limit]
    following = shown[-1].seq if len(jobs) > limit else None
    return History(edits=[edit_view(job, service.settings) for job in shown], next=following)


@router.get("/{id}", responses=errors(404, 422))
def look(job: Found, service: Serving) -> EditView:
    """An edit as it stands."""
    return edit_view(job, service.settings)


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events named `edit`, each with the edit as JSON, from now to its end.",
            "content": {"text/event-stream": {"schema": EVENT}},
        },
        **errors(404, 422),
    },
)
async def events(job: Found, service: Serving, request: Request) -> StreamingResponse:
    """Watch an edit, until it has ended."""
    return StreamingResponse(_events(job, service, request), media_type="text/event-stream")


@router.get("/{id}/family", responses=errors(404, 422))
def family(job: Found, service: Serving, limit: Annotated[int, Query(ge=1, le=100)] = 50) -> Family:
    """The edits from one fit, this one among them: that which made it, and those made again from it."""
    return Family(edits=[edit_view(each, service.settings) for each in service.store.family(job.id, limit)])


@router.post("/{id}/cancel", responses=errors(404, 422))
def cancel(job: Found, service: Serving) -> EditView:
    """End an edit: at once if it waits, else at its next step. What it learned is kept for the next one like it."""
    return edit_view(service.store.cancel(job.id) or job, service.settings)


@router.post("/{id}/again", status_code=202, responses={**SAME, **ACCEPTED, **errors(404)})
def again(
    job: Found, asked: AgainRequest, response: Response, service: Serving, client: Client, key: Key = None
) -> EditView:
    """Another edit from the finished fit of this one, such as with other strengths or seeds; nothing is learned."""
    return _accepted(service, response, *service.again(job, asked, client, key))


@router.delete("/{id}", status_code=204, responses=errors(404, 409, 422))
def delete(job: Found, service: Serving) -> None:
    """Remove an edit and its files."""
    service.delete(job)


def _accepted(service: Service, response: Response, job: Job, is_new: bool) -> EditView:
    response.status_code = 202 if is_new else 200
    response.headers["Location"] = f"/api/v1/edits/{job.id}"
    return edit_view(job, service.settings)


async def _events(job: Job, service: Service, request: Request) -> AsyncIterator[str]:
    told, silent, present = 0, 0.0, job
    while True:
        if present.version > told:
            view = await run_in_threadpool(edit_view, present, service.settings)
            text = json.dumps(view.model_dump(mode="json"))
            yield f"id: {present.version}\nevent: edit\ndata: {text}\n\n"
            told, silent = present.version, 0.0
        if ended(present) or await request.is_disconnected():
            return
        await asyncio.sleep(LOOK)
        silent += LOOK
        if silent >= ALIVE:
            yield ": alive\n\n"
            silent = 0.0
        found = await run_in_threadpool(service.store.get, job.id)
        if found is None:
            return
        present = found
