"""The model card says what was measured, and nothing that was not."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from imagic.core.errors import ModelError, OptionError
from imagic.menagerie.card import FILE, TrainingRun, read_runs, read_scores, write_card
from imagic.menagerie.retrieval import CHANCE, FINDS_PICTURE
from imagic.menagerie.score import PSNR, READS, Score

SCORES = [
    Score(READS, "species", 0.9975, 300),
    Score(READS, "each", 0.9912, 4200),
    Score(READS, "all", 0.9, 300),
    Score(PSNR, "all", 34.5678, 300, unit="dB"),
    Score("generation agrees (guidance 2)", "each", 0.91, 2000, guidance_scale=2.0),
    Score("generation agrees (guidance 3)", "each", 0.95125, 2000, guidance_scale=3.0),
]
RUNS = [
    TrainingRun("vae", "imagic menagerie train vae -o run", "abc1234", 0, "two cores", 7500.0, 38400),
    TrainingRun("diffusion", commit="abc1234", seconds=42.0),
]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for name, size in (("model/unet/a.safetensors", 2_000_000), ("judge/judge.safetensors", 1_250_000)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "model" / "notes.txt").write_text("not weights")
    return tmp_path / "model"


def written(*arguments: object) -> str:
    return write_card(*arguments).read_text("utf-8")  # type: ignore[arg-type]


def figures(text: str) -> set[str]:
    return set(re.findall(r"\d[\d.,]*", text))


def test_the_front_matter_is_what_a_hub_reads(weights: Path) -> None:
    content = written(weights, SCORES, RUNS)
    front = yaml.safe_load(content.split("---\n")[1])
    assert (front["license"], front["library_name"], front["pipeline_tag"]) == (
        "apache-2.0",
        "diffusers",
        "text-to-image",
    )
    _, results = model_index_to_eval_results(front["model-index"])
    assert [(each.metric_type, each.metric_name, each.metric_value) for each in results] == [
        ("accuracy", READS, 0.9912),
        ("psnr", PSNR, 34.5678),
        ("accuracy", "generation agrees (guidance 3)", 0.9513),
    ]
    assert ModelCard.load(weights / FILE).text.lstrip().startswith("# The menagerie's model")


def test_sizes_are_those_of_the_files(weights: Path) -> None:
    content = written(weights)
    assert "| `unet/a.safetensors` | 2.00 |\n| the model | 2.00 |\n| `../judge/judge.safetensors` | 1.25 |" in content
    assert "notes.txt" not in content


def test_what_only_trains_the_model_on_does_not_count(weights: Path) -> None:
    helper = weights / "training" / "unsaid.safetensors"
    helper.parent.mkdir()
    helper.write_bytes(b"x" * 10**6)
    assert "| the model | 2.00 |" in written(weights)


def test_the_training_is_told_as_far_as_it_is_known(weights: Path) -> None:
    content = written(weights, (), RUNS)
    assert "| part | command | commit | seed | hardware | time | images seen |" in content
    assert "| vae | `imagic menagerie train vae -o run` | `abc1234` | 0 | two cores | 2 h 05 min | 38,400 |" in content
    assert "| diffusion |  | `abc1234` |  |  | 42 s |  |" in content
    known = written(weights, (), [TrainingRun("vae", seconds=1800)])
    assert "| part | time |\n|---|---|\n| vae | 30 min |" in known


def test_the_scores_are_shown_with_their_command(weights: Path) -> None:
    content = written(weights, SCORES, (), "imagic menagerie score --count 300 --json")
    assert "Measured by `imagic menagerie score --count 300 --json`." in content
    assert "| species | 99.8 % |" in content.replace(" |  |  |", " |")
    assert "| round trip PSNR | 34.57 dB | 300 |" in content
    assert "agree best with their captions at 3." in content


def test_what_was_not_measured_is_absent(weights: Path) -> None:
    content = written(weights)
    for absent in ("## Scores", "## Training", "model-index", "PSNR", "guidance", "None", "nan"):
        assert absent not in content
    # Figures: sizes of files, the side of a picture, the words of a text, and the licence's version.
    assert figures(content) <= {"1.25", "2.00", "128", "30", "2.0"}
    assert "## Limits" in content
    assert "## Bias" in content


def test_what_lies_beside_the_model_is_told_where_it_is(weights: Path) -> None:
    names = ("small CLIP", "follows instructions")
    assert not any(name in written(weights) for name in names)
    for part, name in zip((weights.parent / "clip", weights / "instruct"), names, strict=True):
        part.mkdir()
        (part / "a.safetensors").write_bytes(bytes(1_000_000))
        assert name in written(weights)
    content = written(weights, [Score(FINDS_PICTURE, "all", 0.75, 300), Score(CHANCE, "all", 0.125, 300)])
    assert f"| {FINDS_PICTURE} | 75.0 % | 300 |\n| {CHANCE} | 12.5 % | 300 |" in content
    front = yaml.safe_load(content.split("---\n")[1])
    _, results = model_index_to_eval_results(front["model-index"])
    assert [(each.metric_type, each.metric_name, each.metric_value) for each in results] == [
        ("accuracy", FINDS_PICTURE, 0.75)
    ]


def test_an_earlier_card_is_replaced(weights: Path) -> None:
    written(weights, SCORES)
    assert "## Scores" not in written(weights)
    assert sorted(path.name for path in weights.iterdir()) == [FILE, "notes.txt", "unet"]


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        write_card(tmp_path)
    assert not (tmp_path / FILE).exists()


def test_measurements_are_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"version": 1, "scores": [asdict(each) for each in SCORES]}))
    assert read_scores(path) == SCORES
    path.write_text(json.dumps({"runs": [asdict(each) for each in RUNS[:1]] + [{"part": "judge"}]}))
    assert read_runs(path) == [RUNS[0], TrainingRun("judge")]


@pytest.mark.parametrize("content", ["", "[]", '{"scores": [{"name": "x"}]}', '{"runs": []}', '{"scores": 3}'])
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(OptionError, match="cannot be read as a JSON file of scores"):
        read_scores(path)
    with pytest.raises(OptionError):
        read_scores(tmp_path / "missing.json")
