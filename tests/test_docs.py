"""Every page followed from top to bottom: its commands and its Python run, in order, in one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import imagic
from imagic.core import encoder
from tests.conftest import build_pipeline
from tests.documented import PAGES, ROOT, TINY, Reader, blocks, little_work
from tests.instructing import instructed_backbone
from tests.metrics.tiny import clip_folder

PROMISED = {"sitting.png", "sweep.png", "dog.safetensors", *(f"by-hand-eta{eta}.png" for eta in (0.5, 0.7, 0.9))}
SD = "stable-diffusion-v1-5/stable-diffusion-v1-5"
Names = Mapping[str, Any]


def pictures(folder: Path, *names: str, side: int = 48) -> None:
    """The example under these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(ROOT / "examples" / "dog.png") as picture:
            picture.convert("RGB").resize((side, side)).save(folder / name)


def lines(path: Path, *rows: Mapping[str, Any]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def ran(out: str, *methods: str, more: tuple[str, ...] = ()) -> list[str]:
    """The command of a run of a benchmark into a folder."""
    return ["imagic", "bench", "run", "--methods", ",".join(methods), "--out", out, *more]


def for_a_fit(folder: Path, reader: Reader) -> Names:
    pictures(folder, "dog.png")
    return {}


def for_benchmarks(folder: Path, reader: Reader) -> Names:
    pictures(folder, "dog.jpg", "dog-mask.png", side=128)
    pictures(folder, *(f"horse2zebra/test{side}/{n}.png" for side in "AB" for n in (1, 2)), side=128)
    (block,) = blocks(ROOT / "docs" / "benchmarks.md", "json")
    (folder / "edits.jsonl").write_text(block.text)
    clip_folder(folder / "models" / "clip")
    return {}


def for_reports(folder: Path, reader: Reader) -> Names:
    reader.run(ran("out/bench", "sdedit", "copy"))
    reader.run(ran("out/before", "sdedit", "copy", more=("--seed", "1")))
    return {}


def for_export(folder: Path, reader: Reader) -> Names:
    pictures(folder, "dog.jpg", side=16)
    pipeline = build_pipeline()
    pipeline.vae.register_to_config(shift_factor=None)  # as in Stable Diffusion
    pipeline.save_pretrained(folder / SD)
    model = imagic.load_model(SD)
    reader.models.update({"sd1.5": model, Path(SD).name: model})  # a record names a folder without those above it
    return {}


def for_metrics(folder: Path, reader: Reader) -> Names:
    clip_folder(folder / "models" / "clip")
    image = torch.zeros(3, 32, 32)
    return {"image": image, "input": image + 0.5}


def for_many(folder: Path, reader: Reader) -> Names:
    pictures(folder, "pictures/one.png", "pictures/two.png")
    # Workers of their own do not see that options are tiny here: the tables say it.
    tiny = {name: TINY[name] for name in ("embedding_steps", "network_steps", "num_steps", "candidates", "refine")}
    rows = [{"image": f"pictures/{name}.png", "text": "a sitting dog", **tiny} for name in ("one", "two")]
    lines(folder / "jobs.jsonl", *rows)
    names = list(rows[0])
    table = [names, *([str(row[name]) for name in names] for row in rows)]
    (folder / "jobs.csv").write_text("\n".join(",".join(cells) for cells in table))
    return {}


def for_ending(folder: Path, reader: Reader) -> Names:
    pictures(folder, "dog.png")
    return {"job": SimpleNamespace(cancelled=False, show=lambda *progress: None)}


def for_signing(folder: Path, reader: Reader) -> Names:
    reader.patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    pictures(folder, "dog.png")
    return {"edited": imagic.edit("dog.png", "a sitting dog")}


@dataclass(frozen=True)
class Scene:
    """What a page finds before its first line. prepare: makes the files, and gives the names of Python blocks. real:
    the bundled model itself, for pages that measure; else a tiny one in its place. apart: each block in a folder of its
    own, where they show the same in several ways. slow: takes more than seconds."""

    prepare: Callable[[Path, Reader], Names] = for_a_fit
    real: bool = False
    apart: bool = False
    slow: bool = False


SCENES = {
    "README.md": Scene(apart=True),
    "docs/benchmarks.md": Scene(for_benchmarks, real=True, slow=True),
    "docs/benchmarks-report.md": Scene(for_reports, real=True, slow=True),
    "docs/export.md": Scene(for_export),
    "docs/faq.md": Scene(slow=True),  # it asks for hundreds of steps
    "docs/menagerie.md": Scene(real=True, slow=True),
    "docs/metrics.md": Scene(for_metrics, real=True, slow=True),
    "docs/nothing-lost.md": Scene(for_ending),
    "docs/preference-study.md": Scene(real=True, slow=True),
    "docs/responsible-use.md": Scene(for_signing, apart=True),
    "docs/scale.md": Scene(for_many, real=True, slow=True),
    "docs/service.md": Scene(slow=True),
}


def pages() -> list[Any]:
    """Each page with blocks."""
    names = [str(page.relative_to(ROOT)) for page in PAGES if blocks(page)]
    slow = {name for name, scene in SCENES.items() if scene.slow}
    return [pytest.param(ROOT / name, id=name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", pages())
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = SCENES.get(str(page.relative_to(ROOT)), Scene())
    models: dict[str, Any] = {}
    if not scene.real:
        models["menagerie"] = instructed_backbone(adapter=True, word_level=True)
        models["menagerie"].name = "menagerie"
        clip_folder(tmp_path / "clip")
        monkeypatch.setattr(encoder, "BUNDLED_FOLDER", tmp_path / "clip")
    with little_work(models):
        reader = None
        for number, block in enumerate(block for block in blocks(page) if not block.mark):
            if reader is None or scene.apart:
                reader = Reader(tmp_path / f"folder-{number}", monkeypatch, models)
                reader.names.update(scene.prepare(reader.folder, reader))
            reader.follow(block)
    if page.name == "README.md" and page.parent == ROOT:
        assert {path.name for path in reader.folder.iterdir()} >= PROMISED


def test_blocks_that_do_not_run_say_why_and_are_few() -> None:
    marked = [block for page in PAGES for block in blocks(page) if block.mark]
    for page in PAGES:  # no fence that the pattern does not see, such as an indented one
        fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("```")]
        assert len(fences) == 2 * len(blocks(page)), page
    for block in marked:
        kind, _, reason = block.mark.partition(": ")
        if kind == "run by":
            assert block.page.name in (ROOT / reason).read_text(encoding="utf-8"), f"{reason} does not run {block.page}"
        else:
            assert len(reason.split()) > 2
    # Whoever marks another block changes these numbers, and is seen to do so.
    assert sum(block.mark.startswith("not run") for block in marked) == 7
    assert sum(block.mark.startswith("run by") for block in marked) == 1
