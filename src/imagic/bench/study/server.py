"""The page of a study on 127.0.0.1, for one computer: HTTP by the standard library, so that it needs no extra.

Nothing in a request is ever a path: pictures are asked for by rater, question and side. Requests under another host
name (DNS rebinding), from another site, or with a large body are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Literal, cast
from urllib.parse import parse_qs

from imagic.bench.study import page
from imagic.bench.study.store import Side
from imagic.bench.study.study import Study
from imagic.core.errors import ImagicError, OptionError

ADDRESS = "127.0.0.1"
MOST_BYTES = 4096  # of a form
LONGEST_NAME = 80  # characters of a rater's name
_TOKEN = "([A-Za-z0-9_-]{1,64})"
_NUMBER = "([0-9]{1,6})"
_FILES = {"/study.css": "text/css", "/study.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class StudyServer(ThreadingHTTPServer):
    """Serves a study on a port, 0 for any that is free. Raises OptionError for one that is taken."""

    daemon_threads = True

    def __init__(self, study: Study, port: int = 0) -> None:
        self.study = study
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise OptionError(f"Port {port} cannot be used ({error}): choose another, or 0 for any.") from error

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"


class _Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


_UNKNOWN = _Refused(HTTPStatus.NOT_FOUND, "There is nothing here: begin at the first page.")


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer
    timeout = 30  # seconds until an idle connection is dropped
    server_version, sys_version = "imagic", ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal is for the address and the tables."""

    def _get(self) -> None:
        study = self.server.study
        if self.path == "/":
            self._send_page(page.welcome(study))
        elif self.path in _FILES:
            data = files("imagic.bench").joinpath("templates", self.path[1:]).read_bytes()
            self._send(HTTPStatus.OK, data, f"{_FILES[self.path]}; charset=utf-8")
        elif found := re.fullmatch(f"/raters/{_TOKEN}", self.path):
            self._send_page(page.question(found[1], study.present(found[1])))
        elif found := re.fullmatch(f"/raters/{_TOKEN}/{_NUMBER}/(input|left|right)", self.path):
            which = cast(Literal["input", "left", "right"], found[3])
            self._send(HTTPStatus.OK, study.picture(found[1], int(found[2]), which), "image/png")
        else:
            raise _UNKNOWN

    def _post(self) -> None:
        study, form = self.server.study, self._form()
        if self.path == "/raters":
            name = re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", form.get("name", "")).strip()[:LONGEST_NAME]
            self._redirect(f"/raters/{study.join(name or 'anonymous')}")
        elif found := re.fullmatch(f"/raters/{_TOKEN}/{_NUMBER}", self.path):
            choice = form.get("choice")
            if choice not in ("left", "right"):
                raise _Refused(HTTPStatus.BAD_REQUEST, "Choose the left or the right result.")
            study.store.answer(found[1], {int(found[2]): cast(Side, choice)})
            self._redirect(f"/raters/{found[1]}")
        else:
            raise _UNKNOWN

    def _form(self) -> dict[str, str]:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "A form must say how long it is.")
        if int(length) > MOST_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This form is too long.")
        try:
            fields = parse_qs(self.rfile.read(int(length)).decode(), max_num_fields=4)
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, "This form cannot be read.") from error
        return {name: values[0] for name, values in fields.items()}

    def _check(self) -> None:
        hosts = [f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")]
        if self.headers.get("Host") not in hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, f"This page is only at {self.server.url}.")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in hosts]:
            raise _Refused(HTTPStatus.FORBIDDEN, "Another site may not answer here.")

    def _answer(self, route: Callable[[], None]) -> None:
        try:
            self._check()
            try:
                route()
            except KeyError as error:
                raise _UNKNOWN from error
            except ImagicError as error:
                raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
        except _Refused as refused:
            self._send_page(page.sentence(refused.sentence), refused.status)

    def _redirect(self, where: str) -> None:
        self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": where})

    def _send_page(self, text: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, text.encode(), "text/html; charset=utf-8")

    def _send(self, status: HTTPStatus, data: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(data)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
