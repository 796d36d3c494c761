"""The files of an edit, each by the edit's id and what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse

from imagic.serve import outputs
from imagic.serve.outputs import FILES, Output
from imagic.serve.requests import MOST_SEEDS, MOST_STRENGTHS
from imagic.serve.routes.common import Found, Serving, errors
from imagic.serve.service import Service
from imagic.serve.store import Job
from imagic.serve.thumbnails import thumbnail

router = APIRouter(prefix="/edits/{id}", tags=["files"])


def _responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {200: {"description": "The file.", "content": content}, **errors(404, 422)}


PICTURE = _responses("image/png")
MOST_PICTURES = MOST_SEEDS * MOST_STRENGTHS
NO_RESULT = "This edit has no such result; look at its state and its images."


@router.get("/result", response_class=FileResponse, responses=PICTURE)
def result(job: Found, service: Serving, index: Annotated[int, Query(ge=0, lt=MOST_PICTURES)] = 0) -> FileResponse:
    """A finished picture; index: as in the edit's `images`."""
    path = _result(job, service, index)
    if path is None:
        raise HTTPException(404, NO_RESULT)
    return _sent(job, path, f"result-{index}")


@router.get("/thumbnail", response_class=FileResponse, responses=_responses("image/webp"))
def small(
    job: Found, service: Serving, index: Annotated[int | None, Query(ge=0, lt=MOST_PICTURES)] = None
) -> FileResponse:
    """A small copy, 320 pixels wide or high at most, of a finished picture; without `index` of the input."""
    path = service.file(job, outputs.INPUT) if index is None else _result(job, service, index)
    if path is None:
        raise HTTPException(404, NO_RESULT)
    return _sent(job, thumbnail(path), "thumbnail")


def _add(output: Output, responses: dict[int | str, dict[str, Any]], about: str) -> None:
    def fetch(job: Found, service: Serving) -> FileResponse:
        path = service.file(job, FILES[output])
        if path is None:
            raise HTTPException(404, f"This edit has no {output}, or not yet.")
        return _sent(job, path, output)

    router.add_api_route(
        f"/{output}", fetch, name=output, response_class=FileResponse, responses=responses, description=about
    )


_add(Output.INPUT, PICTURE, "The picture that was given, upright and in sRGB.")
_add(Output.MASK, PICTURE, "Where the picture may change: the mask that was given, or the first that was found.")
_add(Output.PREVIEW, PICTURE, "How the picture looks so far; another one with each `progress.preview`.")
_add(Output.SHEET, PICTURE, "All that was rendered, strength by seed.")
_add(Output.ANIMATION, _responses("image/webp"), "A walk through the strengths of the first seed.")
_add(Output.STATE, _responses("application/octet-stream"), "What was learned, for `imagic edit --state`.")


def _result(job: Job, service: Service, index: int) -> Path | None:
    """The file of a finished picture, if there is one."""
    return service.file(job, outputs.result_name(index)) if job.result else None


def _sent(job: Job, path: Path, name: str) -> FileResponse:
    kind = "attachment" if path.suffix == ".safetensors" else "inline"
    return FileResponse(
        path,
        media_type=outputs.TYPES[path.suffix],
        filename=f"imagic-{job.id[:8]}-{name}{path.suffix}",
        content_disposition_type=kind,
    )
