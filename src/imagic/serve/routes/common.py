"""What the routes share: the service behind a request, the job behind an id, the client, the errors they declare."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, HTTPException, Path, Request

from imagic.serve.service import Service
from imagic.serve.store import Job
from imagic.serve.views import Problem

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="An edit's id, as it was given.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern="^[!-~]{1,200}$",
        description="The same key with the same request gives the same edit, however often it is sent.",
    ),
]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(service_of)]


def job_of(id: Id, service: Serving) -> Job:
    job = service.store.get(id)
    if job is None:
        raise HTTPException(404, "There is no such edit; it may have been deleted.")
    return job


Found = Annotated[Job, Depends(job_of)]


def client_of(request: Request) -> str:
    """Whom limits and idempotency keys belong to: the address that the request came from."""
    return request.client.host if request.client else "local"


Client = Annotated[str, Depends(client_of)]

_SENTENCES = {
    400: "The request cannot be read.",
    401: "The key is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: "There is no such edit or output.",
    409: "The state of things does not allow it.",
    413: "The request is too large.",
    415: "The content type is not one that can be read.",
    422: "What was asked cannot be done.",
    429: "This client has too many unfinished edits; Retry-After says when to try again.",
    503: "The queue is full or the model cannot be loaded; Retry-After says when to try again.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The declaration of a route's errors; those of every route among them."""
    return {status: {"model": Problem, "description": _SENTENCES[status]} for status in (401, 403, *statuses)}
