"""`imagic menagerie render` draws the scenes that it names."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagic.core.encoder import Encoder
from imagic.core.images import to_rgb
from imagic.core.types import Progress
from imagic.menagerie.render import render
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.score import Score
from imagic.menagerie.training.loop import Report
from tests.cli.conftest import Run
from tests.metrics.tiny import clip_folder


def test_scenes_are_drawn_row_by_row(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "scenes.png"
    done = run("menagerie", "render", "-o", out, "--count", "3", "--columns", "2", "--seed", "7", "--json")
    result = json.loads(done.stdout)
    assert (done.exit_code, result["version"], result["path"]) == (0, 1, str(out))
    assert [scene["seed"] for scene in result["scenes"]] == [7, 8, 9]
    assert all(scene["caption"] for scene in result["scenes"])
    with Image.open(out) as sheet:
        pixels = np.asarray(sheet)
    third = to_rgb(render([sample_scene(9)])[0])
    assert pixels.shape == (2 * third.shape[0], 2 * third.shape[1], 3)
    difference = pixels[third.shape[0] :, : third.shape[1]].astype(int) - third
    assert abs(difference).max() <= 1
    assert run("menagerie", "render", "-o", out, "--count", "1").exit_code == 1


def test_held_out_scenes_are_others(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("seen.png", "held.png")]
    run("menagerie", "render", "-o", paths[0], "--count", "1")
    run("menagerie", "render", "-o", paths[1], "--count", "1", "--held-out")
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_training_logs_its_speed_and_prints_the_exported_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def train(part: str, preset: str, out: Path, **others: object) -> Iterator[Report]:
        asked.append((part, preset, out, others))
        yield Report(1, 2, {"loss": 0.5}, 10.0, 60.0)
        yield Report(2, 2, {"loss": 0.25}, 12.0, 0.0)

    monkeypatch.setattr("imagic.menagerie.train.train", train)
    done = run(
        "menagerie", "train", "vae", "--preset", "smoke", "--steps", "2", "--seed", "3", "-o", tmp_path, "--json"
    )
    assert asked == [("vae", "smoke", tmp_path, {"device": "cpu", "steps": 2, "seed": 3, "start": None})]
    result = json.loads(done.stdout)
    assert result["path"] == str(tmp_path / "vae" / "export")
    assert result["values"] == {"loss": 0.25, "images_per_second": 12.0}
    assert "10.0 images/s  1.0 min left" in done.stderr


def test_scores_are_printed_for_each_guidance(
    run: Run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(
        backbone: object, judge: object, count: int, scales: Sequence[float], steps: int
    ) -> Generator[Progress, None, list[Score]]:
        yield Progress("generations", count, count)
        return [Score(f"generations at {scale:g}", "all", 0.5, count) for scale in scales]

    monkeypatch.setattr("imagic.menagerie.judge.load_judge", lambda path: path)
    monkeypatch.setattr("imagic.menagerie.score.score", score)
    done = run("menagerie", "score", "--model", model_folder, "--guidance", "2", "--guidance", "4", "--json")
    scores = json.loads(done.stdout)["scores"]
    assert [(each["name"], each["value"], each["count"]) for each in scores] == [
        ("generations at 2", 0.5, 300),
        ("generations at 4", 0.5, 300),
    ]


def test_the_clip_is_scored_apart(
    run: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("clip")
    clip_folder(folder)

    def score_clip(encoder: Encoder, count: int) -> Generator[Progress, None, list[Score]]:
        yield Progress("held-out scenes", count, count)
        return [Score(f"retrieval of {encoder.name}", "all", 0.25, count)]

    monkeypatch.setattr("imagic.menagerie.retrieval.score_clip", score_clip)
    done = run("menagerie", "score", "clip", "--clip", folder, "--count", "200")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == f"| retrieval of {folder} | 25.0 % | 200 |"
    for wrong in (("clip", "--clip", folder, "--count", "150"), ("ears",)):
        refused = run("menagerie", "score", *wrong)
        assert (refused.exit_code, refused.stdout) == (2, "")
    missing = run("menagerie", "score", "clip", "--clip", folder / "nowhere", "--count", "100")
    assert missing.exit_code == 1
    assert "There is no folder" in missing.stderr


def test_an_unknown_part_or_preset_is_refused(run: Run, tmp_path: Path) -> None:
    for arguments in (("ears",), ("vae", "--preset", "slow")):
        refused = run("menagerie", "train", *arguments, "-o", tmp_path)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "choose one of" in refused.stderr
