"""Files and folders that are either whole or not there: write beside the target, flush to the disk, rename.

Whatever stops the writing (an error, Ctrl-C, a full disk), the target keeps what it held before,
and nothing half-written appears under its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from imagic.core.errors import OutputError


def check_writable(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The path, if `replacing` may be expected to succeed on it; call it before expensive work.

    Raises OutputError if the file exists (and `overwrite` is false), is not a plain file or is write-protected, or if
    its folder does not exist or cannot be written to.
    """
    target = Path(path)
    try:
        if "\0" in str(target):
            raise ValueError("it contains a null character")
        if target.is_dir():
            raise OutputError(f"{target} is a folder; name a file in it.")
        if target.exists() and not target.is_file():
            raise OutputError(f"{target} is not a plain file; choose another output.")
        if not overwrite and os.path.lexists(target):
            raise OutputError(_exists(target))
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"{target} is write-protected; change its permissions or choose another output.")
        if not target.parent.is_dir():
            raise OutputError(f"The folder {target.parent} does not exist; create it or choose another output.")
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise OutputError(_read_only(target))
    except (OSError, ValueError) as error:
        raise OutputError(_explained(target, error)) from error
    return target


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """A new empty file beside `path`, to be written within the block; renamed to `path` when the block ends well.

    An existing file is replaced only if `overwrite` is true, also when it appears while the block runs. The new name
    and its content are on the disk when this returns. Raises OutputError as `check_writable`, and for a full disk.
    """
    target = check_writable(path, overwrite)
    # The suffix stays: some writers choose the format by it.
    part = target.with_name(f".{part_stem(target)}.{secrets.token_hex(6)}.part{target.suffix}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
        _flush(part)
        if overwrite:
            os.replace(part, target)
        else:
            _rename_new(part, target)
        with contextlib.suppress(OSError):  # not every file system can flush a folder
            _flush(target.parent)
    except OSError as error:
        raise OutputError(_explained(target, error)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def part_stem(target: Path) -> str:
    """What the names of files that `replacing` writes for `target` begin with, after a dot. Cut, since a name holds 255
    bytes on most file systems."""
    return os.fsencode(target.stem)[:100].decode(errors="ignore")


def write_bytes(path: str | os.PathLike[str], data: bytes, overwrite: bool = False) -> None:
    """`data` as the whole content of `path`, atomically. Raises OutputError as `replacing`."""
    with replacing(path, overwrite) as part:
        part.write_bytes(data)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new empty folder beside `path`, to be filled within the block; takes the place of `path` when the block ends
    well. Left empty, it is dropped. Killed between the two renames, `path` is not there, but never half-written. Raises
    OutputError."""
    new, old = (path.with_name(f".{part_stem(path)}.{secrets.token_hex(6)}.{end}") for end in ("part", "old"))
    try:
        new.mkdir()
        yield new
        files = list(new.rglob("*"))
        if not files:
            return
        for file in files:
            _flush(file)
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
    except OSError as error:
        raise OutputError(_explained(path, error)) from error
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename_new(part: Path, target: Path) -> None:
    """Renames without ever replacing a file: a hard link fails if the name is taken, a rename would not."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.replace(part, target)


def _exists(target: Path) -> str:
    return f"{target} exists already; choose another output or ask to overwrite it."


def _read_only(target: Path) -> str:
    return f"The folder {target.parent} cannot be written to; choose another output or change its permissions."


def _explained(target: Path, error: OSError | ValueError) -> str:
    match getattr(error, "errno", None):
        case errno.EEXIST:
            return _exists(target)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return _read_only(target)
        case errno.ENOENT | errno.ENOTDIR:
            return f"The folder {target.parent} does not exist; create it or choose another output."
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full, so {target} was not written; free some space and try again."
        case errno.ENAMETOOLONG:
            return f"The file name {target.name[:40]}... is too long; choose a shorter one."
    return f"{str(target)!r} cannot be written ({error}); choose another output."
