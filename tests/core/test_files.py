"""Files are whole or not there, and never replaced unasked."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from imagic.core.errors import OutputError
from imagic.core.files import check_writable, replacing, replacing_folder, write_bytes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_the_bytes_and_leaves_nothing_beside(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"one")
    assert (tmp_path / "a.bin").read_bytes() == b"one"
    assert names(tmp_path) == ["a.bin"]


def test_new_files_have_the_permissions_that_open_gives(tmp_path: Path) -> None:
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    write_bytes(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    def race() -> None:
        with replacing(path) as part:
            part.write_bytes(b"ours")
            path.write_bytes(b"theirs")

    with pytest.raises(OutputError, match="exists already"):
        race()
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.bin"]


def test_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    write_bytes(tmp_path / "a.bin", b"one")
    assert (tmp_path / "a.bin").read_bytes() == b"one"

    def race() -> None:
        with replacing(tmp_path / "b.bin") as part:
            part.write_bytes(b"ours")
            (tmp_path / "b.bin").write_bytes(b"theirs")

    with pytest.raises(OutputError, match="exists already"):
        race()
    assert (tmp_path / "b.bin").read_bytes() == b"theirs"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(path, overwrite=True) as part:
            part.write_bytes(b"half")
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    def full() -> None:
        with replacing(tmp_path / "a.bin"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="disk is full"):
        full()
    assert names(tmp_path) == []


def test_the_content_is_flushed_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), replace(a, b)))
    write_bytes(tmp_path / "a.bin", b"one", overwrite=True)
    assert events == ["fsync", "rename", "fsync"]


def test_folders_missing_folders_and_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(OutputError, match="does not exist; create it"):
        check_writable(tmp_path / "missing" / "a.png")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="does not exist; create it"):
        check_writable(tmp_path / "file" / "a.png")
    with pytest.raises(OutputError, match="not a plain file"):
        check_writable("/dev/null", overwrite=True)
    with pytest.raises(OutputError, match="too long"):
        write_bytes(tmp_path / ("a" * 400), b"")
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable("a\0b")


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        write_bytes(tmp_path / "link", b"")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)  # a superuser may write anywhere, so the refusal is made
    with pytest.raises(OutputError, match=r"folder .* cannot be written to"):
        write_bytes(tmp_path / "a.bin", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="a superuser may write anywhere")
def test_write_protection_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(OutputError, match="write-protected"):
        write_bytes(path, b"new", overwrite=True)
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="cannot be written to"):
        write_bytes(tmp_path / "b.bin", b"new")
    tmp_path.chmod(0o755)


def test_the_temporary_file_keeps_the_suffix(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.safetensors") as part:
        assert part.suffix == ".safetensors"
        assert part.parent == tmp_path


def test_a_folder_takes_the_place_of_the_one_before_as_a_whole(tmp_path: Path) -> None:
    place = tmp_path / "export"
    for text in ("one", "two"):
        with replacing_folder(place) as part:
            (part / "deep").mkdir()
            (part / "deep" / text).write_text(text)
        assert names(place / "deep") == [text]
    with replacing_folder(place):
        pass  # nothing to put there
    assert names(place / "deep") == ["two"]
    assert names(tmp_path) == ["export"]


def test_a_folder_that_could_not_be_filled_leaves_the_one_before(tmp_path: Path) -> None:
    place = tmp_path / "export"
    place.mkdir()
    (place / "old").write_text("old")

    def fail() -> None:
        with replacing_folder(place) as part:
            (part / "new").write_text("half")
            raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(OutputError, match="disk is full"):
        fail()
    assert (names(tmp_path), names(place)) == (["export"], ["old"])
