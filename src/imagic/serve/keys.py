"""The key of a service that others can reach: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from imagic.core.errors import OptionError
from imagic.core.files import replacing

BYTES = 32  # of randomness: nothing that is guessed, so that a plain hash hides it


@dataclass(frozen=True)
class Key:
    """What a key's hash is, hexadecimal SHA-256."""

    hash: str

    def opens(self, given: str) -> bool:
        """Whether this is the key, in a time that tells nothing about it."""
        return hmac.compare_digest(_hash(given), self.hash)


def open_key(path: Path) -> tuple[Key, str]:
    """The key of that file, and "", or a new one and its text, which is stored nowhere.

    Raises OptionError for a file that others can read or that holds no key, OutputError where none can be written.
    """
    if path.exists():
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise OptionError(f"Others can read the key file {path}: run chmod 600 on it.")
        text = path.read_bytes()[:200].decode("ascii", "replace").strip()
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            raise OptionError(f"{path} holds no key's hash: delete it, and a new key is made.")
        return Key(text), ""
    made = secrets.token_urlsafe(BYTES)
    with replacing(path) as part:
        part.chmod(0o600)
        part.write_text(_hash(made) + "\n", encoding="ascii")
    return Key(_hash(made)), made


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
