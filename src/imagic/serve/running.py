"""Serving until Ctrl-C."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from imagic.core.errors import OutputError
from imagic.serve.app import create_app
from imagic.serve.keys import open_key
from imagic.serve.settings import Settings

KEY = "key.sha256"
CLOSING_SECONDS = 2


def serve(
    settings: Settings,
    host: str,
    port: int,
    key_file: Path | None,
    hosts: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Serve on host and port, 0 for any, until Ctrl-C or SIGTERM.

    key_file: where the key's hash is; None for no key, but on an address that others can reach one is always asked, and
    its hash kept in the folder of data. say: hears what to know.

    Raises OutputError for a folder or port that cannot be used, and as keys.open_key.
    """
    local = _is_loopback(host)
    key = None
    if key_file is not None or not local:
        try:
            settings.create()
        except OSError as error:
            raise OutputError(f"{settings.data} cannot be written to ({error}): choose another with --data.") from error
        path = key_file or settings.data / KEY
        key, made = open_key(path)
        if not local:
            say(f"{host} can be reached from other computers, so every request needs the key.")
        if made:
            say(f"The key, shown this once: {made}")
        else:
            say(f"The key is the one whose hash is in {path}; delete that file for a new one.")
    names = [*hosts] if local else [*hosts, host]
    app = create_app(settings, key, names)
    config = uvicorn.Config(
        app,
        log_level="warning",
        proxy_headers=False,  # whoever sends them may lie
        server_header=False,
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )
    with app.state.service.opened():  # what is wrong there is told here, in one sentence
        pass
    with _listening(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        port = listener.getsockname()[1]
        say(f"Serving at http://{shown}:{port} until Ctrl-C; the API is under /api/v1.")
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        problem = error.strerror or error
        raise OutputError(f"{host}:{port} cannot be served ({problem}): choose another --host or --port.") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
