"""Metrics that a user asks for: their names, their values in rows and report, and what is refused."""

import math

import pytest

from imagic.bench.measures import Measure, open_measures
from imagic.bench.report import markdown, summarise
from imagic.bench.rows import read_rows
from imagic.bench.runner import run
from imagic.core.errors import NotAvailable, OptionError, OutputError
from imagic.core.types import Sample
from imagic.metrics.clip_score import CLIPScore
from imagic.metrics.psnr import PSNR
from imagic.metrics.region import Reference, Region
from imagic.metrics.weights import identity
from tests.bench.fakes import FakeBackbone, FakeSuite, drain, entry
from tests.metrics.tiny import clip_folder


def go(out, labels=(), paths=None, count=2, **options):
    opened = open_measures(labels, paths or {})
    return drain(run(out, FakeSuite(count=count), [entry()], FakeBackbone(), measures=opened, **options))[1]


def test_a_label_names_a_metric_and_where_it_looks():
    assert open_measures(["psnr", "psnr:kept", "l1", "psnr:truth:edited", "psnr"], {})[:2] == [
        Measure("psnr", PSNR()),
        Measure("psnr:kept", PSNR(Region.KEPT)),
    ]
    (both,) = open_measures(["psnr:truth:edited"], {})
    assert both.metric == PSNR(Region.EDITED, Reference.TRUTH)
    assert [each.label for each in open_measures(["l1", "l1"], {})] == ["l1"]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("psrn", "did you mean 'psnr'"),
        ("psnr:keep", "cannot look at 'keep': choose among all, edited, kept, input, truth"),
        ("clip-score:kept", "'clip-score' has no choice of a region"),
        ("clip-score:truth", "'clip-score' has no choice of a reference"),
    ],
)
def test_wrong_labels(label, reason, tmp_path):
    with pytest.raises(OptionError, match=reason):
        open_measures([label], {"clip": tmp_path})


def test_missing_weights_are_said_before_any_work(tmp_path):
    with pytest.raises(NotAvailable, match="'clip' are not given"):
        open_measures(["clip-score"], {})


def test_values_and_weights_stand_in_the_row(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    clip_folder(folder)
    go(tmp_path / "out", ["clip-score", "l1:edited", "psnr:truth"], {"clip": folder})
    rows = read_rows(tmp_path / "out")
    row = rows["item/0", "fake", 0, None]
    assert row["measures"] == {"clip-score": identity(folder), "l1:edited": "", "psnr:truth": ""}
    # Of three channels one rises by 0.75 in the edited half.
    assert row["scores"]["l1:edited"] == pytest.approx(0.25, abs=1e-6)
    assert row["scores"]["psnr:truth"] == pytest.approx(10 * math.log10(4 / (0.25**2 / 6)))
    pictures = FakeSuite().items()[0].render(FakeBackbone())
    result = pictures.source.clone()
    result[0, :8] += 0.75
    expected = CLIPScore(weights=folder)(Sample(result, pictures.source, row["target_text"]))
    assert row["scores"]["clip-score"] == pytest.approx(expected, abs=1e-6)


def test_a_value_that_is_missing_is_a_reason_and_the_report_counts_it(tmp_path):
    go(tmp_path, ["l1", "ms-ssim"])
    rows = list(read_rows(tmp_path).values())
    assert "ms-ssim" not in rows[0]["scores"]
    assert "at least 176 pixels" in rows[0]["not_available"]["ms-ssim"]
    line = summarise(rows)[0]
    assert line.scores["ms-ssim"] is None
    assert line.scores["l1"] == pytest.approx(0.75 / 6, abs=1e-6)
    table = markdown(rows)
    assert "| memory MiB | l1 | ms-ssim |" in table
    assert "| 0.125 | n/a |" in table
    assert "Not available:\n- ms-ssim, 2 rows: MS-SSIM needs images" in table
    assert "weights of metrics" not in table


def test_the_report_names_the_weights(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    clip_folder(folder)
    go(tmp_path / "out", ["clip-score"], {"clip": folder})
    table = markdown(list(read_rows(tmp_path / "out").values()))
    assert f"- weights of metrics: clip-score {identity(folder)}" in table


def test_a_folder_never_mixes_metrics_or_their_weights(tmp_path):
    folders = [tmp_path / name for name in ("clip", "other")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        clip_folder(folder, seed)
    out = tmp_path / "out"
    go(out, ["clip-score"], {"clip": folders[0]}, count=1)
    assert go(out, ["clip-score"], {"clip": folders[0]}).written == 1
    for labels, paths in (
        ([], {}),
        (["clip-score", "l1"], {"clip": folders[0]}),
        (["clip-score"], {"clip": folders[1]}),
    ):
        with pytest.raises(OutputError, match="metrics"):
            go(out, labels, paths)


def test_rows_from_before_there_were_metrics_can_be_continued(tmp_path):
    go(tmp_path, count=1)
    path = tmp_path / "rows.jsonl"
    path.write_text(path.read_text().replace('"measures": {}, ', ""))
    assert "measures" not in path.read_text()
    assert go(tmp_path, count=2).written == 1
