"""Uploaded pictures, decoded in a process of their own that may use so much memory and time and no more.

It writes the picture as a plain PNG, which is all that server and worker ever read. It is forked from a small process
that has the libraries loaded, so that this costs milliseconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from imagic.core.errors import ImageError, ImagicError
from imagic.core.files import replacing, write_bytes
from imagic.core.images import Picture, decode_image, open_image, read_bytes, read_image

MEMORY = 2 * 2**30  # bytes beyond what the libraries take; 24 megapixels with a colour profile need 0.5 GB
CPU_SECONDS = 20
WALL_SECONDS = 40.0
AT_ONCE = 2
LONGEST_REPLY = 65_536
_turns = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class Upload:
    """A decoded upload. facts: of the file, for `read_upload`; width, height: in pixels."""

    facts: Mapping[str, Any]
    width: int
    height: int


def warm_up() -> None:
    """Start the process that decoders are forked from, so that the first upload does not wait for it."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload([__name__])
        forkserver.ensure_running()


def decode_upload(data: bytes, name: str, out: Path, max_pixels: int) -> Upload:
    """The picture in an upload, written to `out` as PNG. name: what messages call it.

    Raises ImageError as core.images.decode_image, for more than max_pixels, and for a file that takes too much memory
    or time; OutputError where the disk is full.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    raw = out.with_name(f"{out.name}.upload")
    write_bytes(raw, data)
    try:
        with _turns:
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_decode, args=(theirs, raw, name, out, max_pixels), daemon=True)
            child.start()
            theirs.close()
            try:
                answered = ours.poll(WALL_SECONDS)
                reply = json.loads(ours.recv_bytes(LONGEST_REPLY)) if answered else None
            except (EOFError, OSError, ValueError):
                reply = None
            finally:
                child.kill()
                child.join()
                ours.close()
    finally:
        raw.unlink(missing_ok=True)
    if reply is None:
        raise ImageError(f"{name} takes too much memory or time to decode; save it anew, or make it smaller.")
    if "error" in reply:
        raise ImageError(reply["error"])
    return Upload(reply["facts"], reply["width"], reply["height"])


def read_upload(path: Path, facts: Mapping[str, Any]) -> Picture:
    """The picture that `decode_upload` wrote, known by the file that was uploaded."""
    found = read_image(path)
    return Picture(found.rgb, found.alpha, facts["sha256"], facts["format"], tuple(facts["notes"]))


def _decode(reply: Connection, raw: Path, name: str, out: Path, max_pixels: int) -> None:
    """Runs in the child. The answer is JSON, so that nothing that a hostile file might do there is unpickled here."""
    _limit()
    try:
        data = read_bytes(raw)
        width, height = open_image(data, name).size
        if width * height > max_pixels:
            raise ImageError(f"{name} has more than {max_pixels / 1e6:.3g} megapixels; make it smaller first.")
        picture = decode_image(data, name)
        with replacing(out) as part:
            picture.to_pil().save(part, "PNG", compress_level=1)
        facts = {"sha256": picture.sha256, "format": picture.format, "notes": picture.notes}
        answer: dict[str, Any] = {"facts": facts, "width": picture.width, "height": picture.height}
    except ImagicError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"{name} takes too much memory to decode; make it smaller first."}
    reply.send_bytes(json.dumps(answer).encode())


def _limit() -> None:
    """Bound this process's memory and processor time, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the wall clock alone
        return
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
