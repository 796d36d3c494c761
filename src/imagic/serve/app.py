"""The application: routes under /api/v1, a page at /, and every error as one sentence."""

from __future__ import annotations

import contextlib
import mimetypes
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException

from imagic import __version__
from imagic.core.errors import ImagicError, OutputError, plain
from imagic.serve import decoding
from imagic.serve.guard import Guard
from imagic.serve.keys import Key
from imagic.serve.routes import access, catalogue, edits, monitoring
from imagic.serve.routes import files as file_routes
from imagic.serve.service import Busy, NoFit, Service, Unavailable
from imagic.serve.settings import Settings
from imagic.serve.store import Conflict, Full, Store
from imagic.serve.supervisor import Supervisor

PREFIX = "/api/v1"
mimetypes.add_type("text/javascript", ".js")  # some systems say text/plain, and no browser runs that
RETRY_SECONDS = {429: 30, 503: 30}


def create_app(settings: Settings, key: Key | None = None, hosts: Sequence[str] = (), *, works: bool = True) -> FastAPI:
    """The application on a folder of data, which is its own from its start to its end.

    key: without it, whoever reaches the port may use it. hosts: further names that it is called by. works: whether it
    keeps a worker; without one, jobs wait.
    """
    service = Service(settings, Store(settings.database))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(service.opened())
            await run_in_threadpool(decoding.warm_up)
            if works:
                app.state.supervisor = stack.enter_context(Supervisor(settings, service.store))
            yield

    app = FastAPI(
        title="imagic",
        version=__version__,
        summary="Edit a picture by a sentence.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service, app.state.key, app.state.supervisor = service, key, None
    app.state.started, app.state.answers = time.monotonic(), Counter()
    for router in (edits.router, file_routes.router, catalogue.router, monitoring.router, access.router):
        app.include_router(router, prefix=PREFIX)
    app.mount("/", StaticFiles(directory=str(files("imagic.serve") / "static"), html=True), name="page")
    guard: Any = Guard  # starlette types middleware by its arguments' names, which mypy cannot follow through ASGIApp
    app.add_middleware(guard, hosts=hosts, key=key, max_bytes=settings.max_bytes, answers=app.state.answers)
    _answer_errors(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    """Every error that a client can cause, as a status and one sentence."""

    def say(status: int, sentence: str) -> JSONResponse:
        headers = {"Retry-After": str(RETRY_SECONDS[status])} if status in RETRY_SECONDS else None
        return JSONResponse({"detail": plain(sentence)}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return say(422, "The body is not valid JSON.")
        where = ".".join(str(part)[:64] for part in first["loc"] if part not in ("body", "query", "path", "header"))
        return say(422, f"{where or 'The request'}: {first['msg']}.")

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"detail": plain(str(error.detail))}, error.status_code, error.headers)

    @app.exception_handler(ImagicError)
    async def impossible(request: Request, error: ImagicError) -> JSONResponse:
        return say(503 if isinstance(error, OutputError) else 422, str(error))

    @app.exception_handler(Conflict)
    async def other_body(request: Request, error: Conflict) -> JSONResponse:
        return say(409, "This Idempotency-Key came with another request before; use a new one.")

    @app.exception_handler(Full)
    async def full(request: Request, error: Full) -> JSONResponse:
        if error.of_client:
            return say(429, "You have too many unfinished edits; wait for one to end, or cancel one.")
        return say(503, "The queue is full; try again later.")

    @app.exception_handler(Unavailable)
    async def unavailable(request: Request, error: Unavailable) -> JSONResponse:
        return say(503, str(error))

    @app.exception_handler(NoFit)
    async def no_fit(request: Request, error: NoFit) -> JSONResponse:
        return say(409, "This edit has no finished fit to edit from; wait for it, or make a new edit.")

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return say(409, "This edit is running; cancel it first.")
