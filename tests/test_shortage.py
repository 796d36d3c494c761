"""No space, no permission, no memory: a sentence, and the fit where there can be one."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from imagic import api
from imagic._cache import Cache
from imagic._store import LOCK
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.core import tensor_files
from imagic.core.errors import OutOfMemory
from tests.keeping import PIXELS, Edits, hashes, kept, tiny_model


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return tiny_model()


@pytest.fixture
def edit(backbone: StableDiffusionBackbone) -> Edits:
    return Edits(backbone)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_folder_costs_a_sentence_and_not_the_fit(
    edit: Edits, monkeypatch: pytest.MonkeyPatch, cache_folder: Path, code: int
) -> None:
    expected = hashes(edit(cache=Cache(fits=False, checkpoint="none")))

    def refuse(tensors: Any, part: Path, metadata: Any) -> None:
        part.write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tensor_files, "save_file", refuse)
    said: list[str] = []
    assert hashes(edit(cache=Cache(checkpoint_seconds=0, say=said.append))) == expected
    assert [sentence.rpartition("The fit ")[2] for sentence in said] == [
        "goes on without a checkpoint.",
        "is used, but not kept.",
    ]
    assert {path.suffix for path in cache_folder.iterdir()} <= {LOCK}


def test_a_folder_that_cannot_be_made_costs_a_sentence(edit: Edits, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    said: list[str] = []
    assert len(edit(cache=Cache(folder=tmp_path / "file" / "fits", say=said.append)).images) == 1
    (sentence,) = said
    assert sentence.endswith("The fit is used, but not kept.")


@pytest.mark.skipif(os.geteuid() == 0, reason="a superuser may write anywhere")
def test_a_fit_is_found_in_a_folder_that_can_only_be_read(edit: Edits, cache_folder: Path) -> None:
    first = hashes(edit())
    cache_folder.chmod(0o500)
    try:
        assert hashes(edit()) == first
        assert edit.seen[0] == "fit found in the cache"
    finally:
        cache_folder.chmod(0o700)


def short_of_memory(backbone: StableDiffusionBackbone, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network takes at most `rows` at once."""
    predict = backbone.predict

    def limited(z: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if len(z) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return predict(z, *arguments)

    monkeypatch.setattr(backbone, "predict", limited)


def weights(backbone: StableDiffusionBackbone) -> Mapping[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.unet.state_dict().items()}


def test_memory_that_runs_out_is_met_with_smaller_batches_which_the_record_tells(
    edit: Edits, backbone: StableDiffusionBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"embedding_pairs": 4}
    plenty = edit(options=options, cache=Cache(fits=False, checkpoint="none"))
    with monkeypatch.context() as patch:
        short_of_memory(backbone, 2, patch)  # guidance alone needs two rows
        made = edit(options=options)
        again = edit(options=options)
    assert {"max_pairs 1", "max_batch 1"} <= {word for sentence in made.warnings for word in known(sentence)}
    assert (made.records[0].fit_options["max_pairs"], made.records[0].edit_options["max_batch"]) == (1, 1)
    assert hashes(again) == hashes(made)
    assert len(kept()) == 1
    redone = api.redo(made.records[0], PIXELS, model=backbone)
    assert hashes(redone) == hashes(made)
    for one, other in zip(made.chosen, plenty.chosen, strict=True):
        torch.testing.assert_close(one.image, other.image, rtol=0, atol=1e-2)


def known(sentence: str) -> set[str]:
    return {each for each in ("max_pairs 1", "max_batch 1") if each in sentence}


def test_memory_that_runs_out_again_is_explained_and_the_weights_are_restored(
    edit: Edits, backbone: StableDiffusionBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights(backbone)
    short_of_memory(backbone, 0, monkeypatch)
    with pytest.raises(OutOfMemory, match=r"also with max_pairs 1.*smaller model"):
        edit()
    after = weights(backbone)
    assert all(torch.equal(before[name], after[name]) for name in before)
