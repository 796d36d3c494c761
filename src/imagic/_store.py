"""The folder in which fits are kept, a file for each by its key: looked through, limited in size, cleared.

Every file is whole or not there. A lock per key says that a process is at work on it; what is locked is left alone.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from imagic.core import checkpoint, state, tensor_files
from imagic.core.errors import OptionError, StateError
from imagic.core.files import part_stem

FIT, CHECKPOINT, LOCK = ".fit.safetensors", ".checkpoint.safetensors", ".lock"
GIGABYTE = 10**9
GIGABYTES = 5.0
DAY = 86_400.0


def default_folder() -> Path:
    """IMAGIC_CACHE_DIR where it is set, else imagic's folder among the user's caches."""
    return Path(os.environ.get("IMAGIC_CACHE_DIR") or platformdirs.user_cache_dir("imagic", appauthor=False))


def default_gigabytes() -> float:
    """IMAGIC_CACHE_GB where it is set, else 5. Raises OptionError for what is no number."""
    text = os.environ.get("IMAGIC_CACHE_GB", "")
    try:
        value = float(text or GIGABYTES)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise OptionError(f"IMAGIC_CACHE_GB must be a number of gigabytes, not '{text}'.")
    return value


@dataclass(frozen=True)
class Entry:
    """A file of the store. kind: fit, checkpoint or rest (half a file that a killed process left). used: seconds since
    1970, when it was last written or found. about: of the file's header: method, model and texts, or stages; empty for
    a damaged one."""

    key: str
    kind: str
    path: Path
    size: int
    used: float
    about: dict[str, Any]


@dataclass(frozen=True)
class Store:
    """Fits and checkpoints in one folder, which need not exist yet."""

    folder: Path

    def create(self) -> None:
        """The folder, for this user alone: a fit holds as much of a picture as the model sees. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: str, ending: str) -> Path:
        """ending: FIT, CHECKPOINT or LOCK."""
        return self.folder / f"{key}{ending}"

    def entries(self) -> list[Entry]:
        """All files but locks, the longest unused first."""
        found = []
        for path in sorted(self.folder.glob("*")) if self.folder.is_dir() else ():
            kind = _kind(path)
            with contextlib.suppress(OSError):  # gone meanwhile
                if kind:
                    facts = path.stat()
                    key = path.name.lstrip(".").partition(".")[0]
                    found.append(Entry(key, kind, path, facts.st_size, facts.st_mtime, _about(path, kind)))
        return sorted(found, key=lambda entry: entry.used)

    def prune(self, most_bytes: float, oldest: float | None = None, spared: str = "") -> list[Entry]:
        """Remove what was last used before `oldest` (seconds since 1970), and the longest unused until at most
        `most_bytes` are left; never what is locked, nor the key `spared`. Returns what was removed."""
        entries, removed = self.entries(), []
        total = sum(entry.size for entry in entries)
        for entry in entries:
            late = entry.kind == "rest" or (oldest is not None and entry.used < oldest)
            if entry.key != spared and (late or total > most_bytes) and self._remove(entry):
                removed.append(entry)
                total -= entry.size
        return removed

    def _remove(self, entry: Entry) -> bool:
        """Whether the entry could be removed."""
        try:
            with FileLock(self.path(entry.key, LOCK), timeout=0):
                entry.path.unlink(missing_ok=True)
                if not any(self.path(entry.key, ending).exists() for ending in (FIT, CHECKPOINT)):
                    self.path(entry.key, LOCK).unlink(missing_ok=True)
        except (Timeout, OSError):
            return False
        return True


def remove_rests(path: Path) -> None:
    """What processes that were killed left of `path` (core.files.replacing). Only for who holds its lock."""
    for rest in path.parent.glob(f".{glob.escape(part_stem(path))}.*.part{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError):
            rest.unlink()


def _kind(path: Path) -> str:
    """ "" for what is not of the store."""
    if path.name.startswith(".") and ".part" in path.suffixes:
        return "rest"
    if path.name.endswith(CHECKPOINT):
        return "checkpoint"
    return "fit" if path.name.endswith(FIT) else ""


def _about(path: Path, kind: str) -> dict[str, Any]:
    try:
        header = tensor_files.read_header(path, state.KIND if kind == "fit" else checkpoint.KIND)
        facts = json.loads(header["facts"])
        if kind == "checkpoint":
            return {"stages": {name: stage["step"] for name, stage in facts.items()}}
        return {"method": header["method"], **{name: facts[name] for name in ("model", "target_text", "source_text")}}
    except (StateError, KeyError, TypeError, ValueError, AttributeError):
        return {}
