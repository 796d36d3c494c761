"""The folder of the cache: limited in size, cleared, and tidy after what was killed."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from filelock import FileLock

from imagic._cache import Cache
from imagic._store import FIT, GIGABYTE, LOCK, Store, default_folder, default_gigabytes
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import OptionError
from tests.keeping import Edits, kept, tiny_model


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return tiny_model()


@pytest.fixture
def edit(backbone: StableDiffusionBackbone) -> Edits:
    return Edits(backbone)


def test_what_a_killed_process_left_half_written_is_removed(edit: Edits, cache_folder: Path) -> None:
    edit()
    (path,) = kept()
    key = path.name.removesuffix(FIT)
    path.unlink()
    (cache_folder / f".{key}.checkpoint.0a1b.part.safetensors").write_bytes(b"half")
    others = [cache_folder / f".{digit * 64}.fit.0a1b.part.safetensors" for digit in "01"]
    for other in others:
        other.write_bytes(b"half")
    with FileLock(cache_folder / f"{'0' * 64}{LOCK}"):  # its process is at work
        edit()
    assert [each for each in cache_folder.iterdir() if ".part" in each.name] == others[:1]


class Kept:
    """A store with files of a size and an age."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)

    def add(self, key: str, size: int, used: float, ending: str = FIT) -> Path:
        path = self.store.path(key, ending)
        path.write_bytes(b"0" * size)
        os.utime(path, (used, used))
        return path

    @property
    def keys(self) -> set[str]:
        return {entry.key for entry in self.store.entries()}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for key, used in (("b", 200.0), ("a", 300.0), ("c", 100.0), ("d", 400.0)):
        kept.add(key, 10, used)
    assert [entry.key for entry in kept.store.entries()] == ["c", "b", "a", "d"]
    assert [entry.key for entry in kept.store.prune(25, spared="c")] == ["b", "a"]
    assert kept.keys == {"c", "d"}
    assert [entry.key for entry in kept.store.prune(100, oldest=200)] == ["c"]
    assert kept.store.prune(10) == []
    with FileLock(kept.store.path("d", LOCK)):
        assert kept.store.prune(-1) == []
    assert [entry.key for entry in kept.store.prune(-1)] == ["d"]
    assert not list(tmp_path.iterdir())


def test_a_clock_that_was_set_back_removes_nothing_new(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.add("future", 10, 4e9)
    assert kept.store.prune(100, oldest=1e9) == []


def test_the_limit_holds_after_each_fit_and_a_found_fit_counts_as_used(edit: Edits) -> None:
    edit(text="a dog")
    (first,) = kept()
    size = first.stat().st_size
    small = Cache(gigabytes=2.5 * size / GIGABYTE)
    edit(text="a cat", cache=small)
    assert len(kept()) == 2
    for path in kept():
        os.utime(path, (1e9, 1e9) if path == first else (1e9 - 1, 1e9 - 1))
    edit(text="a dog", cache=small)  # found: now the latest used
    edit(text="a photo", cache=small)
    assert first in kept()
    assert len(kept()) == 2
    edit(text="a cat", cache=dataclasses.replace(small, gigabytes=0))
    assert "embedding" in edit.seen
    assert len(kept()) == 1  # the one just made is never removed


def test_the_limit_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_gigabytes() == 5
    monkeypatch.setenv("IMAGIC_CACHE_GB", "0.5")
    assert default_gigabytes() == 0.5
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("IMAGIC_CACHE_GB", wrong)
        with pytest.raises(OptionError, match="number of gigabytes"):
            default_gigabytes()


def test_the_users_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IMAGIC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder().name == "imagic" or "imagic" in default_folder().parts
