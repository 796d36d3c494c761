"""What every request passes before a route sees it: the host it names, where it comes from, the key, its size.

A page elsewhere can make a browser send requests here. It cannot make it name this host by a number while showing
another name (DNS rebinding), nor hide where a request comes from (CSRF); both are looked at.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagic.serve.keys import Key

COOKIE = "imagic_key"
# What works without the key: the page that asks for it, handing it in, and whether the service is alive.
OPEN = ("/api/v1/login", "/api/v1/health")
API = "/api/"
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' blob: data:; script-src 'self'; style-src 'self'; connect-src 'self';"
        " font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class Guard:
    """ASGI middleware. hosts: names, beside addresses and localhost, by which the service may be called. key: None for
    none. answers: how many there were, by method and status."""

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], key: Key | None, max_bytes: int, answers: Counter[tuple[str, int]]
    ) -> None:
        self._app, self._hosts, self._key, self._max_bytes = app, {host.lower() for host in hosts}, key, max_bytes
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                # The page's own files may be kept, but are asked for again, lest an older page meets a newer service.
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith(API) else "no-cache")
                self._answers[(scope["method"] if scope["method"].isalpha() else "?", message["status"])] += 1
            await send(message)

        headers = Headers(scope=scope)
        if (refusal := self._refusal(scope, headers)) is not None:
            return await _answer(counted, *refusal)
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, self._too_large())
            return message

        await self._app(scope, limited, counted)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return 421, "This service is not known by that host name: use its address, or start it with --allow-host."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return 403, "The request comes from a page of another site, which may not use this service."
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in SAFE:
            return 403, "The request comes from a page of another site, which may not use this service."
        if self._key is not None and scope["path"].startswith(API) and scope["path"] not in OPEN:
            given = _given_key(headers)
            if given is None or not self._key.opens(given):
                return 401, "This service needs its key: send it as 'Authorization: Bearer KEY'."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._max_bytes:
            return 413, self._too_large()
        return None

    def _is_own(self, host: str) -> bool:
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in self._hosts or name == "localhost":
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _too_large(self) -> str:
        return f"The request is larger than {self._max_bytes / 2**20:.0f} MiB; send a smaller picture."


def _given_key(headers: Headers) -> str | None:
    """Of the Authorization header, or of the cookie that a page has."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
