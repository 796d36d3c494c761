"""Fits kept by content: found again, told apart, gone on with, and made by one process alone."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

import imagic
from imagic._cache import Cache
from imagic._fitting import content_key
from imagic._store import CHECKPOINT, FIT, LOCK, default_folder
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core.errors import Cancelled, OptionError, OutputError, StateError
from imagic.core.options import build_options
from imagic.core.types import FitRequest, Progress
from imagic.methods.imagic import Imagic
from imagic.methods.sdedit import SDEdit
from imagic.methods.text2live import Text2LIVE
from tests.conftest import build_pipeline
from tests.keeping import PIXELS, Edits, ends_at, hashes, kept, tiny_model
from tests.test_api import EDIT, TEXT
from tests.test_api import FIT as TINY_FIT

WAITING = "waiting for the process that makes this fit"


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return tiny_model()


@pytest.fixture
def edit(backbone: StableDiffusionBackbone) -> Edits:
    return Edits(backbone)


def test_a_second_run_with_another_eta_costs_no_fit(edit: Edits, cache_folder: Path) -> None:
    first = edit(1.0)
    assert "embedding" in edit.seen
    (path,) = kept()
    assert path.parent == cache_folder
    assert not kept(CHECKPOINT)
    other = edit(0.4)
    assert not {"embedding", "network"} & set(edit.seen)
    assert edit.seen[0] == "fit found in the cache"
    assert hashes(edit(0.4, cache=Cache(fits=False, checkpoint="none"))) == hashes(other) != hashes(first)
    assert "embedding" in edit.seen
    assert hashes(edit(1.0)) == hashes(first)
    assert other.records[0].fit_options == first.records[0].fit_options


def test_a_folder_for_the_user_alone(edit: Edits, tmp_path: Path) -> None:
    edit(cache=Cache(folder=tmp_path / "new" / "fits"))
    assert (tmp_path / "new" / "fits").stat().st_mode & 0o777 == 0o700


def test_the_record_is_that_of_the_picture_at_hand(edit: Edits) -> None:
    """Two pictures of which the model sees the same: one fit, two records."""
    wider = np.concatenate([PIXELS, np.zeros((30, 9, 3), np.uint8)], axis=1)
    crop = (0, 0, 40, 30)
    first, second = edit(crop=crop), edit(image=wider, crop=crop)
    assert edit.seen[0] == "fit found in the cache"
    assert first.records[0].input_pixels_sha256 != second.records[0].input_pixels_sha256
    assert second.images[0].size == (49, 30)


def test_whatever_decides_a_fit_decides_its_key(backbone: StableDiffusionBackbone) -> None:
    image = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)
    request, options = FitRequest(image, "a dog"), Imagic.FitOptions()
    other = StableDiffusionBackbone.from_pipeline(build_pipeline(beta_end=0.02), name="tiny")
    half = StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny", dtype=torch.bfloat16)
    moved = image.clone()
    moved[0, 0, 0, 0] = torch.nextafter(moved[0, 0, 0, 0], torch.tensor(2.0))
    mask = torch.zeros(1, 1, 16, 16)
    requests = [
        FitRequest(image, "a cat"),
        FitRequest(image, "a dog", source_text="a cat"),
        FitRequest(image, "a dog", instruction="a cat"),
        FitRequest(image, "a dog", seed=1),
        FitRequest(image, "a dog", mask=mask),
        FitRequest(image, "a dog", mask=mask + 1),
        FitRequest(moved, "a dog"),
        FitRequest(image.reshape(1, 3, 8, 32), "a dog"),
    ]
    keys = [content_key(Imagic(), backbone, each, options) for each in (request, *requests)]
    keys.append(content_key(Imagic(), backbone, request, build_options(Imagic.FitOptions, {"network_lr": 1e-6})))
    keys.append(content_key(SDEdit(), backbone, request, SDEdit.FitOptions()))
    keys += [content_key(Imagic(), each, request, options) for each in (other, half)]
    assert len(set(keys)) == len(keys)
    assert content_key(Imagic(), backbone, FitRequest(image.clone(), "a dog"), Imagic.FitOptions()) == keys[0]


def test_another_encoder_under_the_same_name_is_another_fit(backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    request = FitRequest(torch.zeros(1, 3, 16, 16), "a dog", source_text="a cat")
    options = build_options(Text2LIVE.FitOptions, {"encoder": str(tmp_path)})
    keys = []
    for content in ("", "one", "two"):
        (tmp_path / "config.json").write_text(content)
        keys.append(content_key(Text2LIVE(), backbone, request, options))
    (tmp_path / "config.json").rename(tmp_path / "model.json")
    keys.append(content_key(Text2LIVE(), backbone, request, options))
    assert len(set(keys)) == 4
    (tmp_path / "model.json").rename(tmp_path / "config.json")
    assert content_key(Text2LIVE(), backbone, request, options) == keys[2]


def test_other_code_and_other_libraries_are_other_fits(
    backbone: StableDiffusionBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = FitRequest(torch.zeros(1, 3, 16, 16), "a dog")
    keys = [content_key(Imagic(), backbone, request, Imagic.FitOptions())]
    with monkeypatch.context() as patch:
        patch.setattr("imagic._fitting._code", lambda *files: "edited")
        keys.append(content_key(Imagic(), backbone, request, Imagic.FitOptions()))
    monkeypatch.setattr("imagic._fitting.version", lambda name: "9.9")
    keys.append(content_key(Imagic(), backbone, request, Imagic.FitOptions()))
    assert len(set(keys)) == 3


def test_a_damaged_fit_is_dropped_with_one_sentence_and_made_again(edit: Edits) -> None:
    first = hashes(edit())
    (path,) = kept()
    whole = path.read_bytes()
    for damage in (whole[:-7], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damage)
        said: list[str] = []
        assert hashes(edit(cache=Cache(say=said.append))) == first
        assert "embedding" in edit.seen
        assert said == ["The fit that was kept of this is damaged: it is dropped and made again."]
    assert hashes(edit()) == first
    assert "embedding" not in edit.seen


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled()], ids=["ctrl-c", "cancelled"])
def test_an_ended_fit_says_what_is_kept_and_goes_on_from_there(edit: Edits, error: BaseException) -> None:
    options = {"network_steps": 4}
    whole = hashes(edit(options=options, cache=Cache(fits=False, checkpoint="none")))
    with pytest.raises(type(error)) as stopped:
        edit(options=options, on_progress=ends_at("network", 3, error))
    (note,) = stopped.value.__notes__
    assert note == "The fit is kept as of step 3 of stage 'network'; the same command goes on from there."
    assert len(kept(CHECKPOINT)) == 1
    assert hashes(edit(options=options)) == whole
    assert "embedding" not in edit.seen
    assert edit.seen.count("network") == 1
    assert len(kept()) == 1
    assert not kept(CHECKPOINT)


def test_a_damaged_checkpoint_is_dropped_with_one_sentence(edit: Edits) -> None:
    with pytest.raises(Cancelled):
        edit(on_progress=ends_at("network", 1, Cancelled()))
    (path,) = kept(CHECKPOINT)
    path.write_bytes(path.read_bytes()[:-5])
    said: list[str] = []
    edit(cache=Cache(say=said.append))
    assert "embedding" in edit.seen
    assert said == ["The checkpoint that was kept of this fit is damaged: it is dropped, and the fit begins anew."]


def test_a_named_checkpoint(edit: Edits, tmp_path: Path, cache_folder: Path) -> None:
    path = tmp_path / "mine.safetensors"
    named = Cache(fits=False, checkpoint=path)
    with pytest.raises(Cancelled):
        edit(cache=named, on_progress=ends_at("network", 1, Cancelled()))
    assert [each.name for each in tmp_path.iterdir()] == ["mine.safetensors"]
    before = path.read_bytes()
    with pytest.raises(StateError, match="another fit"):
        edit(cache=named, text="a photo of a cat")
    assert path.read_bytes() == before
    edit(cache=named)
    assert "embedding" not in edit.seen
    assert not list(tmp_path.iterdir())
    assert not list(cache_folder.iterdir())
    path.write_bytes(b"a picture, or whatever it is")
    with pytest.raises(StateError, match="no checkpoint"):
        edit(cache=named)
    assert path.read_bytes() == b"a picture, or whatever it is"
    with pytest.raises(OutputError, match="does not exist"):
        edit(cache=dataclasses.replace(named, checkpoint=tmp_path / "nowhere" / "a.safetensors"))


def test_of_two_at_once_one_makes_the_fit_and_the_other_finds_it() -> None:
    """Two threads with a model each, as two processes: a lock is held by an open file, not by a process."""
    stages: dict[str, list[str]] = {"first": [], "second": []}
    results: dict[str, list[str]] = {}
    begun, waited = threading.Event(), threading.Event()

    def work(name: str) -> None:
        model = StableDiffusionBackbone.from_pipeline(build_pipeline(word_level=True), name="tiny")

        def on_progress(progress: Progress) -> None:
            stages[name].append(progress.stage)
            if name == "first":
                begun.set()
                assert waited.wait(60)
            elif progress.stage == WAITING:
                waited.set()

        arguments: dict[str, Any] = {"eta": 1.0, "plain": True, "options": TINY_FIT | EDIT, "cache": Cache()}
        results[name] = hashes(imagic.edit(PIXELS, TEXT, model=model, on_progress=on_progress, **arguments))

    threads = [threading.Thread(target=work, args=(name,)) for name in stages]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join(100)
    assert results["first"] == results["second"]
    assert "embedding" in stages["first"]
    assert stages["second"][0] == WAITING
    assert "fit found in the cache" in stages["second"]
    assert "embedding" not in stages["second"]


def test_waiting_can_be_cancelled(edit: Edits, backbone: StableDiffusionBackbone) -> None:
    edit()
    (path,) = kept()
    with FileLock(path.with_name(path.name.replace(FIT, LOCK))), pytest.raises(Cancelled):
        edit(on_progress=ends_at(WAITING, 0, Cancelled()))


def test_a_fit_has_its_cache_already(edit: Edits) -> None:
    with pytest.raises(OptionError, match="cache"):
        imagic.edit(edit().fit, cache=Cache())


def test_nothing_kept_makes_no_folder(edit: Edits, tmp_path: Path) -> None:
    edit(cache=Cache(tmp_path / "fits", fits=False, checkpoint="none"))
    assert not list(tmp_path.iterdir())


def test_without_a_cache_nothing_is_written(edit: Edits, backbone: StableDiffusionBackbone) -> None:
    imagic.edit(PIXELS, TEXT, model=backbone, eta=1.0, options=TINY_FIT | EDIT)
    assert not list(default_folder().iterdir())
