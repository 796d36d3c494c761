import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from imagic.bench.rows import read_rows
from imagic.bench.runner import Shard, run
from imagic.core.errors import AbilityError, ModelError, OptionError, OutputError
from imagic.core.types import Ability
from tests.bench.fakes import FakeBackbone, FakeMethod, FakeSuite, drain, draw, entry

MEASURED = ("seconds", "peak_memory")


def go(out, suite=None, entries=None, **options):
    return drain(run(out, suite or FakeSuite(), entries or [entry()], FakeBackbone(), **options))


def comparable(out):
    """Rows without what the clock decides."""
    return {key: {k: v for k, v in row.items() if k not in MEASURED} for key, row in read_rows(out).items()}


def test_a_row_says_all_that_was_measured(tmp_path):
    _, summary = go(tmp_path, FakeSuite(count=2), seed=7)
    assert (summary.written, summary.failed, summary.skipped) == (2, 0, 0)
    row = read_rows(tmp_path)["item/1", "fake", 7, None]
    assert (row["suite"], row["group"], row["method"], row["target_text"]) == ("fakes", "coat", "fake", "brown 1")
    assert row["options"]["fit"] == {"effort": 1}
    assert row["options"]["edit"] == {"eta": 0.75, "etas": []}
    assert row["model"] == {"name": "fake", "fingerprint": "f" * 64}
    assert row["eta"] == 0.75
    assert row["eta_scores"] == {"agreement": 0.75, "closeness": 0.25}
    assert row["warnings"] == ["a warning"]
    assert (row["success"], row["asked"], row["kept"], row["individual"]) == (True, True, True, True)
    assert row["facts"]["coat"] == {
        "asked": True, "counts": True, "source": "black", "truth": "brown",
        "read_truth": "brown", "read_roundtrip": "black", "read_result": "brown",
    }  # fmt: skip
    assert row["ceiling"]["success"] is True
    assert row["delivered"] == dict.fromkeys(("success", "asked", "kept", "individual"), True) | {
        "likeness": pytest.approx(1.0, abs=0.01)
    }
    assert row["seconds"]["fit"] >= 0
    assert row["seconds"]["edit"] >= 0
    assert row["peak_memory"]["mib"] > 10
    assert "process" in row["peak_memory"]["of"]
    assert row["versions"]["torch"] == torch.__version__
    assert row["threads"] == torch.get_num_threads()
    assert row["hardware"]
    assert row["error"] is None


def test_distances_are_the_closed_forms(tmp_path):
    go(tmp_path, FakeSuite(count=1))
    row = read_rows(tmp_path)["item/0", "fake", 0, None]
    # Item 0 is black but for the red channel (0.5 in size): the result lies 0.25 below the truth in half of it.
    assert row["scores"]["psnr_truth"] == pytest.approx(10 * math.log10(4 / (0.25**2 / 6)))
    assert row["scores"]["psnr_kept"] == "inf"
    result, truth = draw(False, False, 0, 0), draw(True, False, 0, 0)
    result[0, :8] = 0.25
    expected = structural_similarity(
        result.double().numpy(), truth.double().numpy(), data_range=2, channel_axis=0, gaussian_weights=True,
        use_sample_covariance=False,
    )  # fmt: skip
    assert row["scores"]["ssim_truth"] == pytest.approx(expected, abs=1e-9)
    assert row["scores"]["ssim_kept"] < 1  # windows across the mask's edge see the edit
    # The result is the input but for the edit, so laying it over the input changes no more than rounding to 8 bits.
    assert row["scores"]["psnr_delivered_truth"] == pytest.approx(row["scores"]["psnr_truth"], abs=0.3)
    assert row["scores"]["psnr_roundtrip_input"] == pytest.approx(10 * math.log10(4 / (0.01**2 / 3)), abs=1e-4)
    assert row["scores"]["psnr_reconstruction_input"] == "inf"
    assert row["scores"]["psnr_reconstruction_roundtrip"] == pytest.approx(row["scores"]["psnr_roundtrip_input"])
    assert row["not_available"] == {}


def test_the_sweep_is_judged_too(tmp_path):
    go(tmp_path, FakeSuite(count=1))
    sweep = read_rows(tmp_path)["item/0", "fake", 0, None]["sweep"]
    assert [each["eta"] for each in sweep] == [0, 0.25, 0.5, 1]
    assert [each["success"] for each in sweep] == [False, False, False, True]
    assert [each["kept"] for each in sweep] == [True] * 4
    assert sweep[1]["psnr_input"] == pytest.approx(10 * math.log10(4 / (0.25**2 / 6)))
    assert sweep[0]["psnr_input"] == "inf"
    assert sweep[3]["psnr_truth"] == "inf"
    assert sweep[2]["scores"] == {"agreement": 0.5, "closeness": 0.5}


def test_the_delivered_picture_is_the_change_laid_over_the_input(tmp_path):
    class Drifting(FakeMethod):
        """Renders the world a little too bright, and then does as it is told."""

        def edit(self, backbone, state, options, seeds):
            result = yield from super().edit(backbone, state, options, seeds)
            (chosen,) = result.chosen
            brighter = replace(chosen, image=chosen.image + 0.02)
            return replace(result, chosen=[brighter], reconstruction=result.reconstruction + 0.02)

    go(tmp_path, FakeSuite(count=1), [entry(method=Drifting())])
    scores = read_rows(tmp_path)["item/0", "fake", 0, None]["scores"]
    assert scores["psnr_kept"] == pytest.approx(10 * math.log10(4 / 0.02**2), abs=1e-4)
    # The drift cancels far from the edit; at its edge the pixels are the result's.
    assert scores["psnr_delivered_kept"] > scores["psnr_kept"] + 1


def test_a_question_without_answer_is_a_reason_and_no_number(tmp_path):
    suite = FakeSuite(count=1)
    (item,) = suite.items()
    pictures = item.render(FakeBackbone())
    everywhere = torch.ones_like(pictures.mask)
    suite.items = lambda: [replace(item, render=lambda *_: replace(pictures, mask=everywhere))]
    go(tmp_path, suite)
    row = read_rows(tmp_path)["item/0", "fake", 0, None]
    assert "psnr_kept" not in row["scores"]
    assert "empty" in row["not_available"]["psnr_kept"]
    assert "ssim_kept" in row["not_available"]


def test_the_picture_shows_input_roundtrip_result_truth(tmp_path):
    go(tmp_path, FakeSuite(count=1))
    row = read_rows(tmp_path)["item/0", "fake", 0, None]
    assert row["picture"] == "images/fake/item-0.png"
    picture = Image.open(tmp_path / row["picture"])
    assert picture.size == (64, 16)
    red = [picture.getpixel((16 * panel + 3, 3))[0] for panel in range(4)]
    assert red == [round((value + 1) * 127.5) for value in (-0.5, -0.49, 0.25, 0.5)]
    assert not list(tmp_path.rglob("*.part"))


def test_a_method_sees_the_target_text_alone_unless_it_is_told_more(tmp_path):
    blind, told = FakeMethod(), FakeMethod()
    go(tmp_path, FakeSuite(count=1), [entry(method=blind), entry("told", method=told, with_source_text=True)], seed=5)
    (request,), (more,) = blind.requests, told.requests
    assert (request.target_text, request.source_text, request.mask, request.seed) == ("sit 0", "", None, 5)
    assert request.image.shape == (1, 3, 16, 16)
    assert more.source_text == "an animal"


def test_a_method_that_cannot_do_without_a_source_text_is_given_it(tmp_path):
    method = FakeMethod()
    method.texts = ("target_text", "source_text")
    go(tmp_path, FakeSuite(count=1), [entry(method=method)])
    assert method.requests[0].source_text == "an animal"
    assert read_rows(tmp_path)["item/0", "fake", 0, None]["options"]["with_source_text"] is True


def test_variants_that_differ_in_the_edit_alone_share_a_fit(tmp_path):
    method, other = FakeMethod(), FakeMethod()
    entries = [
        entry("first", method=method, edit={"eta": 0.5}),
        entry("alike", method=method, edit={"eta": 1.0}),
        entry("harder", method=method, fit={"effort": 2}),
        entry("told", method=method, fit={"effort": 2}, with_source_text=True),
        entry("other", method=other, fit={"effort": 2}, with_source_text=True),
    ]
    go(tmp_path, FakeSuite(count=2), entries)
    told = [request.source_text for request in method.requests]
    assert told == ["", "", "an animal", "", "", "an animal"]  # of each item the first, the harder and the told
    assert len(other.requests) == 2
    rows = read_rows(tmp_path)
    assert {rows["item/1", label, 0, None]["eta"] for label in ("first", "alike")} == {0.5, 1.0}


def test_a_rerun_makes_only_what_is_missing(tmp_path):
    go(tmp_path, FakeSuite(count=2))
    before = (tmp_path / "rows.jsonl").read_bytes()
    suite, method = FakeSuite(count=4), FakeMethod()
    progress, summary = go(tmp_path, suite, [entry(method=method)])
    assert (summary.written, summary.skipped) == (2, 2)
    assert [request.target_text for request in method.requests] == ["sit 2", "brown 3"]
    assert suite.rendered == ["item/2", "item/3"]
    assert (tmp_path / "rows.jsonl").read_bytes().startswith(before)
    assert (progress[-1].step, progress[-1].total) == (4, 4)


def test_an_interrupted_run_continues_as_if_it_had_not_been(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    go(whole)
    with pytest.raises(KeyboardInterrupt):
        go(broken, entries=[entry(method=FakeMethod(interrupt="brown 3"))])
    assert len(read_rows(broken)) == 3
    with (broken / "rows.jsonl").open("ab") as file:
        file.write(b'{"item": "item/3", "lab')
    _, summary = go(broken)
    assert (summary.written, summary.skipped) == (3, 3)
    assert comparable(broken) == comparable(whole)


def test_a_killed_process_loses_at_most_one_row(tmp_path):
    code = (
        "from pathlib import Path; from tests.bench.fakes import *; from imagic.bench.runner import run\n"
        f"drain(run(Path({str(tmp_path)!r}), FakeSuite(), [entry(method=FakeMethod(seconds=0.2))], FakeBackbone()))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 60
    while len(read_rows(tmp_path)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = len(read_rows(tmp_path))
    assert 2 <= left < 6
    _, summary = go(tmp_path)
    assert (summary.written, summary.skipped) == (6 - left, left)
    assert all(row["error"] is None for row in read_rows(tmp_path).values())


def test_a_failing_item_is_a_row_and_the_run_goes_on(tmp_path):
    suite = FakeSuite(count=3, broken=frozenset({"item/2"}))
    progress, summary = go(tmp_path, suite, [entry(method=FakeMethod(refuse="brown 1"))])
    assert (summary.written, summary.failed) == (3, 2)
    rows = read_rows(tmp_path)
    refused, bug = rows["item/1", "fake", 0, None], rows["item/2", "fake", 0, None]
    assert (refused["error"], refused["group"]) == ("Say it in other words.", "coat")
    assert "traceback" not in refused
    assert "success" not in refused
    assert bug["error"] == "RuntimeError: no brush"
    assert "no brush" in bug["traceback"]
    assert rows["item/0", "fake", 0, None]["success"] is True
    assert progress[-1].step == 3


def test_failed_rows_are_done_unless_they_are_to_be_tried_again(tmp_path):
    go(tmp_path, FakeSuite(count=2), [entry(method=FakeMethod(refuse="brown 1"))])
    assert go(tmp_path, FakeSuite(count=2))[1].written == 0
    assert go(tmp_path, FakeSuite(count=2), retry_failed=True)[1].written == 1
    assert {row["error"] for row in read_rows(tmp_path).values()} == {None}


def test_shards_are_a_partition_and_together_equal_one_run(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    go(whole, FakeSuite(count=5))
    written = [go(parts, FakeSuite(count=5), shard=Shard.parse(f"{index}/2"))[1].written for index in (2, 1)]
    assert written == [2, 3]
    assert comparable(parts) == comparable(whole)
    assert sorted(path.name for path in parts.glob("*.jsonl")) == ["rows-1-of-2.jsonl", "rows-2-of-2.jsonl"]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "a/b", "-1/2", "1/2/3", ""])
def test_shards_that_do_not_exist(text):
    with pytest.raises(OptionError):
        Shard.parse(text)


@pytest.mark.parametrize(
    "change",
    [
        {"entries": [entry(edit={"eta": 0.5})]},
        {"entries": [entry(preset="hard")]},
        {"entries": [entry(with_source_text=True)]},
        {"seed": 1},
        {"suite": FakeSuite(name="others")},
    ],
)
def test_a_folder_never_mixes_settings(tmp_path, change):
    go(tmp_path, FakeSuite(count=1))
    before = (tmp_path / "rows.jsonl").read_bytes()
    with pytest.raises(OutputError, match="choose an empty folder"):
        go(tmp_path, **change)
    assert (tmp_path / "rows.jsonl").read_bytes() == before


def test_items_that_changed_under_their_name_need_another_folder(tmp_path):
    go(tmp_path, FakeSuite(count=1))
    suite = FakeSuite(count=1)
    (item,) = suite.items()
    suite.items = lambda: [replace(item, target_text="sit down")]
    with pytest.raises(OutputError, match="another suite"):
        go(tmp_path, suite)


def test_a_judge_that_cannot_be_loaded_fails_before_any_work(tmp_path):
    suite, method = FakeSuite(), FakeMethod()
    suite.judge = lambda: (_ for _ in ()).throw(ModelError("The judge is missing: install it."))
    with pytest.raises(ModelError, match="judge is missing"):
        go(tmp_path, suite, [entry(method=method)])
    assert method.requests == []
    assert read_rows(tmp_path) == {}


def test_another_model_needs_another_folder(tmp_path):
    go(tmp_path, FakeSuite(count=1))
    other = FakeBackbone()
    other.fingerprint = "e" * 64
    with pytest.raises(OutputError, match="model"):
        drain(run(tmp_path, FakeSuite(count=1), [entry()], other))


def test_methods_may_be_added_to_a_folder(tmp_path):
    go(tmp_path, FakeSuite(count=1))
    suite = FakeSuite(count=1)
    _, summary = go(tmp_path, suite, [entry(), entry("hard", preset="hard")])
    assert (summary.written, summary.skipped) == (1, 1)
    assert read_rows(tmp_path)["item/0", "hard", 0, None]["options"]["fit"] == {"effort": 5}
    assert suite.rendered == ["item/0"]


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([entry(preset="soft")], OptionError),
        ([entry(fit={"effort": 99})], OptionError),
        ([entry(edit={"strength": 1})], OptionError),
        ([entry(), entry()], OptionError),
    ],
)
def test_wrong_settings_fail_before_any_work(tmp_path, entries, error):
    with pytest.raises(error):
        go(tmp_path / "new", entries=entries)
    assert not (tmp_path / "new").exists()


def test_a_model_that_cannot_serve_fails_before_any_work(tmp_path):
    method = FakeMethod()
    method.needs = frozenset({Ability.CASCADE})
    with pytest.raises(AbilityError, match="cascade"):
        go(tmp_path, entries=[entry(method=method)])
    assert method.requests == []


def test_one_result_per_item_is_judged(tmp_path):
    go(tmp_path, FakeSuite(count=1), [entry(edit={"etas": (0.1, 0.2)})])
    assert "not 2" in read_rows(tmp_path)["item/0", "fake", 0, None]["error"]
