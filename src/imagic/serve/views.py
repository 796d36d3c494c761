"""What a client is told: the shapes of the answers, from which the OpenAPI description is made."""

from __future__ import annotations

import datetime
from typing import Any

from pydantic import BaseModel, Field

from imagic.serve import outputs
from imagic.serve.outputs import result_name
from imagic.serve.settings import Settings
from imagic.serve.store import Job, JobState


class Problem(BaseModel):
    """What went wrong, in one sentence."""

    detail: str


class ProgressView(BaseModel):
    """preview: counts the pictures that /preview has shown; 0 for none yet. seconds_left: of this stage."""

    stage: str
    step: int
    total: int
    seconds_left: float | None
    values: dict[str, float]
    preview: int


class ImageView(BaseModel):
    """A finished picture. index: of /result."""

    index: int
    strength: float
    seed: int
    scores: dict[str, float | None]


class SweepView(BaseModel):
    """A strength that was looked at on the way; its picture is on the sheet."""

    strength: float
    seed: int
    scores: dict[str, float | None]


class EditView(BaseModel):
    """An edit. position: in the queue, from 1. cancelling: it was asked to end. again_of: the edit whose fit it used.
    outputs: what can be fetched, each under its own name."""

    id: str
    state: JobState
    created: datetime.datetime
    ended: datetime.datetime | None
    position: int
    cancelling: bool
    attempts: int
    version: int
    again_of: str | None
    method: str
    text: str
    source_text: str
    width: int
    height: int
    request: dict[str, Any] = Field(description="All that was asked, without the pictures.")
    progress: ProgressView | None
    error: str | None
    images: list[ImageView]
    sweep: list[SweepView]
    warnings: list[str]
    fit_seconds: float | None
    edit_seconds: float | None
    outputs: list[outputs.Output]


class History(BaseModel):
    """The newest first. next: give it as `before` for the following page; null on the last one."""

    edits: list[EditView]
    next: int | None


class Family(BaseModel):
    """The edits from one fit, the newest first."""

    edits: list[EditView]


def edit_view(job: Job, settings: Settings) -> EditView:
    """A job as a client sees it."""
    request, result = job.request, job.result or {}
    folder = settings.folder(job.id)
    images = [{"index": index, **image} for index, image in enumerate(result.get("images", []))]
    shown = {name: value for name, value in request.items() if name not in ("image", "mask")}
    mask = request["mask"]
    return EditView(
        id=job.id,
        state=job.state,
        created=_time(job.created),
        ended=None if job.ended is None else _time(job.ended),
        position=job.position,
        cancelling=job.cancel and job.state is JobState.RUNNING,
        attempts=job.attempts,
        version=job.version,
        again_of=job.parent,
        method=request["method"],
        text=request["text"],
        source_text=request["source_text"],
        width=request["image"]["width"],
        height=request["image"]["height"],
        request={**shown, "mask": "given" if isinstance(mask, dict) else mask},
        progress=None if job.progress is None else ProgressView(**job.progress),
        error=job.error,
        images=[ImageView(**image) for image in images if (folder / result_name(image["index"])).is_file()],
        sweep=[SweepView(**each) for each in result.get("sweep", [])],
        warnings=result.get("warnings", []),
        fit_seconds=result.get("fit_seconds"),
        edit_seconds=result.get("edit_seconds"),
        outputs=outputs.found(folder),
    )


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
