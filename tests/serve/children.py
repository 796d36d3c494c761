"""What a hostile file might make of the process that decodes it. Apart from the tests, since it is imported there."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

import numpy as np

from imagic.serve import decoding


def eats_memory(reply: Connection, *_: object) -> None:
    decoding._limit()
    kept = np.ones(6 * 2**30, np.uint8)
    reply.send_bytes(str(kept.size).encode())


def eats_time(reply: Connection, *_: object) -> None:
    reply.poll(None)


def dies(*_: object) -> None:
    os.kill(os.getpid(), 9)


def lies(reply: Connection, *_: object) -> None:
    reply.send_bytes(b"[" * 70_000)
