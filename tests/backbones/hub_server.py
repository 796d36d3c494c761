"""A hub of one model on this machine: the few answers that huggingface_hub asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789" * 4
REVISIONS = ("main", COMMIT)


@contextmanager
def serving(model_id: str, folder: Path, token: str = "") -> Iterator[tuple[str, list[str]]]:
    """Within: the folder is a model of the hub, for whoever has the token. Yields the address and the paths of the
    files that were fetched, as they come in."""
    fetched: list[str] = []
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, content: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            known = path.startswith(tuple(f"/{model_id}/resolve/{r}/" for r in REVISIONS))
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                self.answer(403, b"gated", X_Error_Code="GatedRepo", X_Error_Message="gated")
            elif path.startswith(f"/api/models/{model_id}/tree/"):
                entries = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in files.items()
                ]
                self.answer(200, json.dumps(entries).encode(), Content_Type="application/json")
            elif path in (f"/api/models/{model_id}", *(f"/api/models/{model_id}/revision/{r}" for r in REVISIONS)):
                facts: dict[str, Any] = {"id": model_id, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
                self.answer(200, json.dumps(facts).encode(), Content_Type="application/json")
            elif path.startswith((f"/api/models/{model_id}/revision/", f"/{model_id}/resolve/")) and not known:
                self.answer(404, b"{}", X_Error_Code="RevisionNotFound", X_Error_Message="no such revision")
            elif known and (name := path.split("/", 5)[5]) in files:
                if self.command == "GET":
                    fetched.append(name)
                etag = hashlib.sha1(files[name]).hexdigest()
                self.answer(200, files[name], ETag=f'"{etag}"', X_Repo_Commit=COMMIT)
            else:
                # Besides the one model there is one without any file.
                code = "EntryNotFound" if path.startswith((f"/{model_id}/", "/someone/files/")) else "RepoNotFound"
                self.answer(404, b"{}", X_Error_Code=code, X_Error_Message="not found")

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
