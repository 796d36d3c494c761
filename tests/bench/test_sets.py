"""Set metrics of a run, from its saved pictures."""

import numpy as np
import pytest
import torch

from imagic.bench.report import load
from imagic.bench.runner import Shard, run
from imagic.bench.sets import score_sets, table
from imagic.bench.strips import panel
from imagic.core.errors import NotAvailable, OptionError, OutputError
from imagic.core.images import to_rgb
from imagic.metrics.weights import identity
from tests.bench.fakes import SIZE, FakeBackbone, FakeMethod, FakeSuite, drain, draw, entry

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Red(torch.nn.Module):
    """The mean of the red channel in the upper and in the lower half: what the fake world's edits change."""

    def forward(self, images):
        red = images[:, 0].float() / 127.5 - 1
        return torch.stack([red[:, :8].mean((1, 2)), red[:, 8:].mean((1, 2))], dim=1)


@pytest.fixture
def red(tmp_path):
    path = tmp_path / "red.pt"
    torch.jit.script(Red()).save(str(path))
    return {"trusted-torchscript": path}


def go(out, entries, suite=None, **options):
    drain(run(out, suite or FakeSuite(count=4), entries, FakeBackbone(), **options))


def by_name(scores):
    return {(score.label, score.measure): score.value for score in scores}


def rounded(value):
    """A channel's value as it comes back from 8 bits."""
    return float(to_rgb(torch.full((3, 1, 1), value))[0, 0, 0]) / 127.5 - 1


def features(high, low):
    """Of four items, whose edits raise the upper and the lower half in turns."""
    return np.array([[rounded(high), rounded(low)], [rounded(low), rounded(high)]] * 2)


def test_results_are_compared_with_the_true_edits(red, tmp_path):
    go(tmp_path / "out", [entry(), entry("whole", edit={"eta": 1.0})])
    scores = score_sets(tmp_path / "out", load(tmp_path / "out"), ["fid:torchscript", "csfid:torchscript"], red)
    assert [(score.label, score.images, score.weights) for score in scores] == [
        (label, 4, identity(red["trusted-torchscript"])) for label in ("fake", "fake", "whole", "whole")
    ]
    found, made, true = by_name(scores), features(0.25, -0.5), features(0.5, -0.5)
    assert found["whole", "fid:torchscript"] == pytest.approx(0, abs=1e-9)
    assert found["whole", "csfid:torchscript"] == pytest.approx(0, abs=1e-9)
    # Both sets lie on lines of one direction, so that the covariances' part is the squared difference of deviations.
    spread = [np.linalg.norm(each.std(axis=0, ddof=1)) for each in (made, true)]
    shift = ((made.mean(0) - true.mean(0)) ** 2).sum()
    assert found["fake", "fid:torchscript"] == pytest.approx(shift + (spread[0] - spread[1]) ** 2, abs=1e-6)
    assert found["fake", "csfid:torchscript"] == pytest.approx(((made[0] - true[0]) ** 2).sum(), abs=1e-6)


def test_a_sharded_run_gives_the_same_figures(red, tmp_path):
    go(tmp_path / "whole", [entry()])
    for index in (2, 1):
        go(tmp_path / "parts", [entry()], shard=Shard(index, 2))
    whole, parts = (
        by_name(score_sets(out, load(out), ["kid:torchscript"], red))
        for out in (tmp_path / "whole", tmp_path / "parts")
    )
    assert whole["fake", "kid:torchscript"] == pytest.approx(parts["fake", "kid:torchscript"], rel=1e-12)


def test_items_that_failed_are_in_neither_set(red, tmp_path):
    refusing = entry("refusing", method=FakeMethod(refuse="sit 0"), edit={"eta": 1.0})
    silent = entry("silent", method=FakeMethod(refuse="brown 1"))
    go(tmp_path / "out", [refusing, silent], FakeSuite(count=2))
    scores = score_sets(tmp_path / "out", load(tmp_path / "out"), ["csfid:torchscript", "fid:torchscript"], red)
    assert {(score.label, score.images) for score in scores} == {("refusing", 1), ("silent", 1)}
    assert by_name(scores)["refusing", "csfid:torchscript"] == pytest.approx(0, abs=1e-12)
    one = next(score for score in scores if score.measure == "fid:torchscript")
    assert one.value is None
    assert "at least two images" in one.reason
    shown = table(scores).markdown()
    assert "| method | images | csfid:torchscript | fid:torchscript |\n" in shown
    assert "| refusing | 1 | 0 | n/a |\n" in shown
    assert f"- fid:torchscript: features of {identity(red['trusted-torchscript'])}" in shown
    assert "- fid:torchscript of refusing: FID needs at least two images" in shown


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        ("fid", "written metric:extractor"),
        ("fid:", "written metric:extractor"),
        ("fdi:clip", "Unknown set metric 'fdi': did you mean 'fid'"),
        ("fid:klip", "Unknown extractor 'klip': did you mean 'clip'"),
        ("psnr:clip", "Unknown set metric 'psnr'"),
    ],
)
def test_wrong_measures(measure, reason, tmp_path):
    with pytest.raises(OptionError, match=reason):
        score_sets(tmp_path, [], [measure], {})


def test_missing_weights_and_pictures(red, tmp_path):
    go(tmp_path / "out", [entry()])
    rows = load(tmp_path / "out")
    with pytest.raises(NotAvailable, match="'clip' are not given"):
        score_sets(tmp_path / "out", rows, ["fid:clip"], red)
    (tmp_path / "out" / rows[0]["picture"]).unlink()
    with pytest.raises(OutputError, match=r"images/fake/item-0\.png is missing"):
        score_sets(tmp_path / "out", rows, ["fid:torchscript"], red)


def test_the_pictures_are_the_right_panels(tmp_path):
    go(tmp_path, [entry(edit={"eta": 1.0})], FakeSuite(count=1))
    (row,) = load(tmp_path)
    for which, sits in (("input", False), ("truth", True), ("result", True)):
        found = panel(tmp_path, row["picture"], which)
        assert found.shape == (3, SIZE, SIZE)
        torch.testing.assert_close(found, draw(sits, False, 0, 0), atol=0.004, rtol=0)
