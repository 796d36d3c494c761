"""A user's own list of edits: what its rows hold without a truth, what is measured, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from imagic.bench.report import load, markdown
from imagic.bench.rows import read_rows
from imagic.bench.runner import run
from imagic.bench.sheet import contact_sheet
from imagic.bench.strips import panel
from imagic.bench.suites import open_suite
from imagic.core.errors import OptionError, OutputError
from imagic.core.types import Candidate
from tests.bench.fakes import FakeBackbone, FakeMethod, FakeSuite, drain, entry
from tests.bench.pictures import columns, json_lines, picture


@pytest.fixture
def listed(tmp_path):
    picture(tmp_path / "in" / "dog.png")
    picture(tmp_path / "in" / "cat.png", 32, 16)
    mask = np.zeros((16, 16), np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return json_lines(
        tmp_path / "edits.jsonl",
        {"image": "in/dog.png", "target": "sit", "source": "a dog", "mask": "mask.png", "group": "posture"},
        {"image": "in/cat.png", "instruction": "make it sit", "target": "sit", "id": "second"},
    )


def go(out, suite, method=None, **options):
    return drain(run(out, suite, [entry(method=method)], FakeBackbone(), **options))[1]


def test_items_hold_what_the_list_says(listed):
    first, second = open_suite("pairs", data=listed).items()
    assert (first.name, first.group, first.target_text, first.source_text) == ("0001-dog", "posture", "sit", "a dog")
    assert (second.name, second.group, second.instruction) == ("second", "pairs", "make it sit")
    assert [item.name for item in open_suite("pairs", 1, data=listed).items()] == ["0001-dog"]


def test_a_row_without_a_truth_is_null_with_the_reason(listed, tmp_path):
    assert go(tmp_path / "out", open_suite("pairs", data=listed)).failed == 0
    row = read_rows(tmp_path / "out")["0001-dog", "fake", 0, None]
    for part in (row, row["delivered"], row["ceiling"], *row["sweep"]):
        assert [part[name] for name in ("success", "asked", "kept", "individual")] == [None] * 4
    assert row["not_available"]["success"] == "no truth known"
    assert "not known" in row["not_available"]["psnr_truth"]
    assert "psnr_truth" not in row["scores"]
    assert row["sweep"][1]["psnr_truth"] is None
    # The method raises the upper half of one of three channels by 0.75: all of it within the mask.
    assert row["scores"]["psnr_input"] == pytest.approx(10 * math.log10(4 / (0.75**2 / 6)), abs=1e-4)
    assert row["scores"]["psnr_kept"] == "inf"
    maskless = read_rows(tmp_path / "out")["second", "fake", 0, None]
    assert "needs a mask" in maskless["not_available"]["psnr_kept"]


def test_a_picture_of_any_size_is_measured_without_its_padding(tmp_path):
    class Padder(FakeMethod):
        """Changes the rows above and below the middle eight."""

        def edit(self, backbone, state, options, seeds):
            result = yield from super().edit(backbone, state, options, seeds)
            image = state.tensors["image"].clone()
            image[:, :4], image[:, 12:] = 1, -1
            return replace(result, chosen=[Candidate(image, 0.5, seeds[0])])

    listed = json_lines(tmp_path / "a.jsonl", {"image": columns(tmp_path / "a.png", 64, 32).name, "target": "sit"})
    method = Padder()
    go(tmp_path / "out", open_suite("pairs", data=listed), method)
    (row,) = read_rows(tmp_path / "out").values()
    assert row["scores"]["psnr_input"] == "inf"
    assert method.requests[0].image.shape == (1, 3, 16, 16)
    shown = panel(tmp_path / "out", row["picture"], "result")
    assert shown.shape == (3, 8, 16)
    assert torch.equal(shown, panel(tmp_path / "out", row["picture"], "input"))


def test_a_mask_lies_where_its_picture_lies(tmp_path):
    picture(tmp_path / "a.png", 64, 32)
    mask = np.zeros((32, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    listed = json_lines(tmp_path / "a.jsonl", {"image": "a.png", "target": "sit", "mask": "mask.png"})
    pictures = open_suite("pairs", data=listed).items()[0].render(FakeBackbone())
    assert pictures.inside == (0, 4, 16, 8)
    expected = torch.zeros(1, 8, 16)
    expected[..., :8] = 1
    assert torch.equal(pictures.cut(pictures.mask), expected)


def test_an_instruction_reaches_a_method_that_asks_for_it(listed, tmp_path):
    plain, instructed = FakeMethod(), FakeMethod()
    instructed.texts = ("instruction",)
    entries = [entry("plain", method=plain), entry("instructed", method=instructed)]
    drain(run(tmp_path / "out", open_suite("pairs", data=listed), entries, FakeBackbone()))
    assert [request.instruction for request in plain.requests] == ["", ""]
    assert [request.instruction for request in instructed.requests] == ["", "make it sit"]
    assert all(request.mask is None for request in plain.requests)


def test_the_report_and_the_sheet_of_a_run_without_truth(listed, tmp_path):
    go(tmp_path / "out", open_suite("pairs", data=listed))
    rows = load(tmp_path / "out")
    assert "| fake | all | 2 | 0 | n/a |" in markdown(rows)
    assert contact_sheet(tmp_path / "out", rows, "fake").width == 64


def test_an_image_that_cannot_be_read_is_a_row_with_the_reason(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    listed = json_lines(tmp_path / "a.jsonl", {"image": "bad.png", "target": "sit"})
    assert go(tmp_path / "out", open_suite("pairs", data=listed)).failed == 1
    (row,) = read_rows(tmp_path / "out").values()
    assert "bad.png is not an image" in row["error"]


def test_a_suite_with_a_judge_must_show_the_truth(tmp_path):
    suite = FakeSuite(count=1)
    (item,) = suite.items()
    pictures = item.render(FakeBackbone())
    suite.items = lambda: [replace(item, render=lambda _: replace(pictures, truth=None))]
    go(tmp_path, suite)
    (row,) = read_rows(tmp_path).values()
    assert "no true edit" in row["error"]


def test_a_list_that_changed_needs_another_folder(listed, tmp_path):
    go(tmp_path / "out", open_suite("pairs", 1, data=listed))
    assert go(tmp_path / "out", open_suite("pairs", data=listed)).skipped == 1
    listed.write_text(listed.read_text().replace("a dog", "a hound"))
    with pytest.raises(OutputError, match="another suite"):
        go(tmp_path / "out", open_suite("pairs", data=listed))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Line 3 of edits.jsonl is not valid JSON"),
        ("[1]", "Line 3 of edits.jsonl must be an object of texts"),
        ('{"image": "in/dog.png", "target": 1}', "must be an object of texts"),
        ('{"image": "in/dog.png", "sorce": "a"}', "unknown field 'sorce'"),
        ('{"image": "in/dog.png"}', "a target or an instruction"),
        ('{"target": "sit"}', "an image"),
        ('{"image": "gone.png", "target": "sit"}', r"gone\.png is missing: the suite 'pairs' needs"),
        ('{"image": "in/dog.png", "target": "sit", "mask": "gone.png"}', r"gone\.png is missing"),
        ('{"image": "in/dog.png", "target": "sit", "id": "second"}', "two items named 'second'"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(listed, line, reason):
    listed.write_text(f"{listed.read_text()}{line}\n")
    with pytest.raises(OptionError, match=reason):
        open_suite("pairs", data=listed)


def test_what_a_suite_needs_and_has_no_use_for(tmp_path):
    with pytest.raises(OptionError, match="--data"):
        open_suite("pairs")
    with pytest.raises(OptionError, match=r"nothing\.jsonl is missing"):
        open_suite("pairs", data=tmp_path / "nothing.jsonl")
    with pytest.raises(OptionError, match="own pictures"):
        open_suite("menagerie", data=tmp_path)
    with pytest.raises(OptionError, match="own texts"):
        open_suite("tedbench", data=tmp_path, target_text="a zebra")
