"""Hostile input through the command line and the service, and whether the script that gives it sees what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.hostile import trial
from benchmarks.hostile_cases import MODEL, PICTURE, QUICK, STATE, TEXT, Case, Request
from benchmarks.hostile_files import sound_pictures, with_record
from benchmarks.hostile_run import Limits, Peak, Range, unclear
from benchmarks.hostile_values import EDITS

from imagic.core import images
from imagic.serve.service import Service

ROOT = Path(__file__).parent.parent
CASES = 100
INSPECT = Case("picture", {"input.png": sound_pictures()["png"]}, ("inspect", "input.png"))


@pytest.mark.timeout(300)
def test_every_case_ends_in_success_or_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    report = trial(tmp_path / "range", CASES, 0, tmp_path / "violations", Limits(seconds=60))
    assert report.violations == []
    assert report.cases == CASES
    for surface in ("cli", "api"):
        ends = sum(report.ends[surface].values(), Counter[str]())
        assert ends["succeeded"] > 0
        assert ends["refused"] > 10
    assert not (tmp_path / "violations").exists()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    with Range(tmp_path_factory.mktemp("hostile") / "range", Limits(seconds=30, megabytes=400)) as place:
        yield place


def test_what_ends_well_is_told_from_what_is_refused(place: Range) -> None:
    sound = place.run(INSPECT)
    assert (sound.ok, sound.wrong) == (True, ())
    refused = place.run(Case("picture", {"input.png": b"no picture"}, INSPECT.command))
    assert (refused.ok, refused.wrong) == (False, ())
    assert "not an image" in refused.said
    assert place.run(Case("text", {}, ("edit", *QUICK, "-o", "out.png", "--", PICTURE, TEXT))).wrong == ()
    usage = place.run(Case("number", {}, ("edit", PICTURE, TEXT, "--seed", "many")))
    assert (usage.ok, usage.wrong) == (False, ())
    alone = place.run(Case("number", {}, ("edit", PICTURE, TEXT, "--seed", "many")), process=True)
    assert (alone.ok, alone.said, alone.wrong) == (usage.ok, usage.said, usage.wrong)
    missing = place.run(Case("name", request=Request("GET", f"{EDITS}/{'0' * 32}")))
    assert (missing.ok, missing.said, missing.wrong) == (
        False,
        "There is no such edit; it may have been deleted.",
        (),
    )


def test_a_bug_a_file_left_behind_and_too_much_time_or_memory_are_seen(
    place: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        Path("left.part").write_text("x")
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode_image", broken)
        wrong = place.run(INSPECT).wrong
        assert len(wrong) == 2
        assert "KeyError: 'a bug'" in wrong[0]
        assert "left.part" in wrong[1]
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode_image", lambda *_: time.sleep(10))
        patch.setattr(place, "limits", Limits(seconds=0.2))
        assert place.run(INSPECT).wrong == ("took more than 0.2 s",)
    with monkeypatch.context() as patch:
        patch.setattr(Peak, "megabytes", lambda _: 2049.0)
        assert place.run(INSPECT).wrong == ("took 2049 MB",)
    assert place.run(INSPECT).wrong == ()


def test_the_peak_of_memory_is_seen_where_the_system_tells_it() -> None:
    """In a process of its own: memory that the tests before have freed would be used again, and no growth be seen."""
    lines = ["from benchmarks.hostile_run import Peak", "peak = Peak()", "kept = bytearray(b'x') * 2**28"]
    code = "\n".join([*lines, "print(peak.megabytes())"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    grown = float(done.stdout)
    assert grown == 0 or grown == pytest.approx(256, abs=64)


def test_an_error_of_the_server_and_a_file_that_it_leaves_are_seen(
    place: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Case("body", request=Request("POST", EDITS, b"{}", {"Content-Type": "application/json"}))
    assert place.run(asked).wrong == ()

    def broken(self: Service) -> None:
        (self.settings.jobs / "left").write_text("x")
        raise RuntimeError("a bug")

    monkeypatch.setattr(Service, "facts", broken)
    wrong = place.run(Case("name", request=Request("GET", "/api/v1/models"))).wrong
    assert len(wrong) == 2
    assert "RuntimeError: a bug" in wrong[0]
    assert "left" in wrong[1]


# Command lines that once ended in a traceback, left a file or took for ever, and what they say now.
FOUND = [
    (("edit", *QUICK, "--set", "num_steps=" + "[" * 100_000, "--", PICTURE, TEXT), "must be int"),
    (("edit", *QUICK, "--set", "guidance_scale=" + "9" * 400, "--", PICTURE, TEXT), "too large a number"),
    (("edit", *QUICK, "--num-seeds", "100000000", "--", PICTURE, TEXT), "1000"),
    (("edit", *QUICK, "--method", "x" * 100_000, "--", PICTURE, TEXT), "xxx ... xxx"),
    (("edit", *QUICK, "--", "\x1b[31m.png", TEXT), "\\x1b[31m.png does not exist"),
    (("edit", *QUICK, "--set", "target_text=\ud800", "--", PICTURE, TEXT), "halves of characters"),
    (("mask", "--model", MODEL, "--set", "mask_noises=1", "--", PICTURE, "\ud800a dog"), "halves of characters"),
    (("export", STATE, "--model", MODEL, "-o", "exported", "--eta", "nan"), "eta"),
    (("edit", *QUICK, "--sheet", "🐶" * 60 + ".png", "--", PICTURE, TEXT), ""),
    (("edit", *QUICK, "--model", "other.safetensors", "--config", MODEL, "--", PICTURE, TEXT), "could not be loaded"),
    (("edit", *QUICK, "--model", "other", "--", PICTURE, TEXT), "not of one model"),
    (("edit", *QUICK, "--model", "strange", "--", PICTURE, TEXT), "'model_max_length' of 'tokenizer' must be"),
    (("edit", *QUICK, "--model", "late", "--", PICTURE, TEXT), "cannot be used"),
    (("edit", *QUICK, "--model", "endless", "--", PICTURE, TEXT), "far larger than its files"),
    (("edit", *QUICK, "--out", "\udcff.png", "--", PICTURE, TEXT), ""),
    (("redo", "out.png", "--image", PICTURE, "--model", MODEL), "differ"),
]


@pytest.mark.parametrize(("command", "said"), FOUND, ids=range(len(FOUND)))
def test_what_was_found_is_mended(place: Range, command: tuple[str, ...], said: str) -> None:
    model = {f"other/{name}": data for name, data in place.sound.model.items()}
    settings = json.loads(model["other/tokenizer/tokenizer_config.json"]) | {"bos_token": "/etc/passwd"}
    model["other/tokenizer/tokenizer_config.json"] = json.dumps(settings).encode()
    model |= {name.replace("other", "strange"): data for name, data in model.items()}
    settings |= {"model_max_length": {}}
    model["strange/tokenizer/tokenizer_config.json"] = json.dumps(settings).encode()
    for name, changes in (("late", {"norm_eps": "x"}), ("endless", {"layers_per_block": 2**63})):
        model |= {f"{name}/{file}": data for file, data in place.sound.model.items()}
        unet = json.loads(model[f"{name}/unet/config.json"]) | changes
        model[f"{name}/unet/config.json"] = json.dumps(unet).encode()
    weights = {"other.safetensors": model["other/vae/diffusion_pytorch_model.safetensors"]}
    made = with_record({**place.sound.record, "seed": 7})
    ended = place.run(Case("found", {**model, **weights, "out.png": made}, command))
    assert ended.wrong == ()
    assert ended.ok == (not said)
    assert said in ended.said


def test_cases_of_one_kind(tmp_path: Path) -> None:
    report = trial(tmp_path / "range", 8, 0, tmp_path / "violations", Limits(), kind="weights: wrong model")
    assert report.violations == []
    assert [*report.ends] == ["cli"]
    assert [*report.ends["cli"]] == ["weights: wrong model"]
    with pytest.raises(ValueError, match="no kind begins with 'weihgts': they are body, header"):
        trial(tmp_path / "other", 8, 0, tmp_path / "violations", Limits(), kind="weihgts")


def test_one_clear_sentence() -> None:
    assert unclear("The image is empty; give an image file.") == []
    for sentence in ("", " ", None, ["a"], "a\nb", "\x1b[31m", "\u202eb", "x" * 1001):
        assert len(unclear(sentence)) == 1, sentence


def test_a_case_can_be_written_down(place: Range) -> None:
    cases = [
        INSPECT,
        Case("header", request=Request("GET", EDITS, b"\xff", {"Cookie": "\xff"})),
        Case("name", {}, ("edit", "\udcff")),
    ]
    for case in cases:
        assert Case.from_json(case.to_json()) == case
