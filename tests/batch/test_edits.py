"""The work of an edit on a tiny random model: pixels as `imagic.edit` gives them, and no fit that is made twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import imagic
from imagic.backbones.stable_diffusion import StableDiffusionBackbone
from imagic.batch.edits import Edits
from imagic.batch.inline import Inline
from imagic.batch.jobs import Defaults
from imagic.batch.reading import read_jobs
from imagic.batch.results import Results
from imagic.batch.run import run
from imagic.batch.shards import ALL
from imagic.batch.types import Summary
from imagic.core.errors import Cancelled
from imagic.core.provenance import read_record
from imagic.core.types import Progress
from tests.bench.fakes import drain
from tests.keeping import tiny_model
from tests.test_api import EDIT, FIT

OPTIONS = FIT | EDIT


@pytest.fixture(scope="module")
def backbone() -> StableDiffusionBackbone:
    return tiny_model()


class Batch:
    """A folder of pictures and runs over it. stages: of the steps of the last run, by job."""

    def __init__(self, folder: Path, backbone: StableDiffusionBackbone) -> None:
        self.folder, self.backbone = folder, backbone
        self.stages: list[str] = []
        self.loaded = 0
        folder.mkdir()

    def picture(self, name: str, seed: int = 0) -> Path:
        pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.folder / name)
        return self.folder / name

    def __call__(
        self, source: Path, out: Path, cache: imagic.Cache | None = None, metadata: bool = True, **defaults: Any
    ) -> Summary:
        self.stages.clear()
        jobs = read_jobs(source, Defaults(**{"options": OPTIONS, "strengths": (1.0,), **defaults}))

        def load() -> Edits:
            self.loaded += 1
            return Edits(self.backbone, cache, metadata)

        work = run(jobs, Results(out, {}, ALL), Inline(load), on_step=self._hear)
        summary: Summary = drain(work)[1]
        return summary

    def _hear(self, progress: Progress) -> None:
        self.stages.append(progress.stage)

    def fits(self) -> int:
        """How often a fit was begun."""
        return sum(": embedding 1/" in stage for stage in self.stages)


@pytest.fixture
def batch(tmp_path: Path, backbone: StableDiffusionBackbone) -> Batch:
    return Batch(tmp_path / "in", backbone)


def report(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "report.jsonl").read_text().splitlines()]


def write(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_job_gives_the_pixels_of_the_same_edit_alone(batch: Batch, tmp_path: Path) -> None:
    picture, out = batch.picture("a.png"), tmp_path / "out"
    batch.picture("b.png", seed=1)
    assert batch(batch.folder, out, text="a sitting dog", strengths=(0.5,), seed=3) == Summary(2, 0, 0)
    alone = imagic.edit(picture, "a sitting dog", model=batch.backbone, strength=0.5, seed=3, options=OPTIONS)
    assert np.array_equal(np.asarray(Image.open(out / "a-a-sitting-dog.png")), np.asarray(alone.images[0]))
    record = read_record(out / "a-a-sitting-dog.png")
    assert (record.strength, record.seed, record.target_text) == (0.5, 3, "a sitting dog")
    line = report(out)[0]
    assert (line["state"], line["image"], line["strength"], line["model"]) == ("done", "a.png", 0.5, "tiny")
    assert line["fingerprint"] == batch.backbone.fingerprint
    assert line["seconds"]["fit"] > 0


def test_strengths_and_seeds_of_one_fit_cost_one_fit(batch: Batch, tmp_path: Path) -> None:
    batch.picture("a.png")
    assert batch(batch.folder, tmp_path / "out", text="a cat", strengths=(0.3, 0.9), num_seeds=2) == Summary(4, 0, 0)
    assert batch.fits() == 1
    records = [read_record(path) for path in sorted((tmp_path / "out").glob("*.png"))]
    assert [(each.strength, each.seed, each.fit_seed) for each in records] == [
        (0.3, 0, 0), (0.3, 1, 0), (0.9, 0, 0), (0.9, 1, 0),
    ]  # fmt: skip


def test_a_second_run_with_another_eta_finds_the_fits(batch: Batch, tmp_path: Path) -> None:
    batch.picture("a.png")
    batch.picture("b.png", seed=1)
    cache = imagic.Cache()
    batch(batch.folder, tmp_path / "first", cache, text="a cat", strengths=(0.3,), plain=True)
    assert batch.fits() == 2
    again = batch(batch.folder, tmp_path / "second", cache, text="a cat", strengths=(0.9,), plain=True)
    assert again == Summary(2, 0, 0)
    assert batch.fits() == 0
    assert sum("fit found in the cache" in stage for stage in batch.stages) == 2
    assert [line["strength"] for line in report(tmp_path / "second")] == [0.9, 0.9]
    pair = [np.asarray(Image.open(tmp_path / out / "a-a-cat.png")) for out in ("first", "second")]
    assert not np.array_equal(*pair)


def test_what_is_done_is_not_done_again_and_no_model_is_loaded_for_it(batch: Batch, tmp_path: Path) -> None:
    batch.picture("a.png")
    batch(batch.folder, tmp_path / "out", text="a cat")
    before = (tmp_path / "out" / "a-a-cat.png").stat()
    assert batch(batch.folder, tmp_path / "out", text="a cat") == Summary(0, 0, 1)
    assert batch.loaded == 1
    batch.picture("b.png", seed=1)
    assert batch(batch.folder, tmp_path / "out", text="a cat") == Summary(1, 0, 1)
    assert (tmp_path / "out" / "a-a-cat.png").stat() == before


def test_each_job_fails_for_itself(batch: Batch, tmp_path: Path) -> None:
    batch.picture("good.png")
    (batch.folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    transparent = Image.new("RGBA", (30, 30), (200, 0, 0, 100))
    transparent.save(batch.folder / "clear.png")
    Image.new("L", (30, 30), 0).save(batch.folder / "black.png")
    lines = [
        {"image": "broken.png"},
        {"image": "gone.png"},
        {"image": "clear.png", "output": "clear.jpg"},
        {"image": "good.png", "mask": "black.png", "output": "masked"},
        {"image": "good.png", "mask": "gone.png", "output": "maskless"},
        {"image": "good.png", "eta": "auto", "etas": [0.1, 0.2], "output": "two"},
        {"image": "good.png"},
    ]
    table, out = write(batch.folder / "jobs.jsonl", lines), tmp_path / "out"
    assert batch(table, out, text="a cat") == Summary(7, 6, 0)
    errors = {line["output"]: line["error"] for line in report(out)}
    assert "damaged or truncated" in errors["broken-a-cat.png"] or "not an image" in errors["broken-a-cat.png"]
    assert "does not exist" in errors["gone-a-cat.png"]
    assert "JPEG cannot hold" in errors["clear.jpg"]
    assert "so nothing could change" in errors["masked.png"]
    assert "does not exist" in errors["maskless.png"]
    assert "one picture, not 2" in errors["two.png"]
    assert errors["good-a-cat.png"] is None
    assert [path.name for path in out.glob("*.*g")] == ["good-a-cat.png"]
    assert not any("traceback" in line for line in report(out))


def test_a_mask_of_the_job_keeps_what_is_black(batch: Batch, tmp_path: Path) -> None:
    picture = batch.picture("a.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[:, 20:] = 255
    Image.fromarray(mask).save(batch.folder / "mask.png")
    table = write(
        batch.folder / "jobs.jsonl", [{"image": "a.png", "mask": "mask.png", "output": "masked", "plain": True}]
    )
    batch(table, tmp_path / "out", text="a cat", metadata=False)
    before, after = (np.asarray(Image.open(path)) for path in (picture, tmp_path / "out" / "masked.png"))
    assert np.array_equal(before[:, :20], after[:, :20])
    assert not np.array_equal(before[:, 20:], after[:, 20:])
    assert "imagic" not in Image.open(tmp_path / "out" / "masked.png").info


def test_ended_in_a_fit_the_same_run_goes_on_from_its_checkpoint(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch.picture("a.png")
    out, cache = tmp_path / "out", imagic.Cache(checkpoint_seconds=0)
    hear = batch._hear

    def stop(progress: Progress) -> None:
        hear(progress)
        if ": network 1/" in progress.stage:
            raise Cancelled

    with monkeypatch.context() as patch:
        patch.setattr(batch, "_hear", stop)
        with pytest.raises(Cancelled) as stopped:
            batch(batch.folder, out, cache, text="a cat")
    assert "the same command goes on from there" in stopped.value.__notes__[0]
    assert not list(out.glob("*.png"))
    assert batch(batch.folder, out, cache, text="a cat") == Summary(1, 0, 0)
    assert batch.fits() == 0
    assert any("going on from" in stage for stage in batch.stages)
