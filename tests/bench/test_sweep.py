"""Strengths as rows: one fit, a row and a picture per strength, resumable, never mixed with other options."""

import dataclasses
import math

import pytest

from imagic.bench.baselines import Copy
from imagic.bench.report import load, markdown
from imagic.bench.rows import read_rows
from imagic.bench.runner import Shard, run
from imagic.bench.trials import SWEEP, Trial, parse_sweep
from imagic.core.errors import OptionError, OutputError
from tests.bench.fakes import FakeBackbone, FakeMethod, FakeSuite, drain, entry

STRENGTHS = (0.25, 0.5, 0.75)


def go(out, entries=None, sweep=STRENGTHS, count=2, **options):
    return drain(run(out, FakeSuite(count=count), entries or [entry()], FakeBackbone(), sweep=sweep, **options))


def test_each_strength_is_a_row_with_its_own_picture_from_one_fit(tmp_path):
    method = FakeMethod()
    progress, summary = go(tmp_path, [entry(method=method)])
    assert (summary.written, summary.failed, len(method.requests)) == (6, 0, 2)
    rows = read_rows(tmp_path)
    assert set(rows) == {(f"item/{item}", "fake", 0, strength) for item in range(2) for strength in STRENGTHS}
    for (*_, strength), row in rows.items():
        assert row["strength"] == row["eta"] == row["options"]["edit"]["eta"] == strength
        # In half of one of three channels the input's value rises by the strength.
        assert row["scores"]["psnr_input"] == pytest.approx(-10 * math.log10(strength**2 / 24))
        assert (tmp_path / row["picture"]).is_file()
    assert len({row["picture"] for row in rows.values()}) == 6
    assert any(each.stage.startswith("fake at 0.25 on item/0") for each in progress)
    assert [row["success"] for row in rows.values()] == [False, False, True] * 2


def test_a_sweep_is_resumed_and_extended_where_rows_are_missing(tmp_path):
    go(tmp_path, sweep=(0.5,), count=1)
    method = FakeMethod()
    _, summary = go(tmp_path, [entry(method=method)])
    assert (summary.written, summary.skipped, len(method.requests)) == (5, 1, 2)
    assert go(tmp_path)[1].written == 0
    whole = tmp_path / "whole"
    go(whole)
    scores = [{key: row["scores"] for key, row in read_rows(out).items()} for out in (tmp_path, whole)]
    assert scores[0] == scores[1]


def test_the_methods_own_strength_stands_beside_the_swept_ones(tmp_path):
    go(tmp_path)
    assert go(tmp_path, sweep=())[1].written == 2
    assert read_rows(tmp_path)["item/0", "fake", 0, None]["eta"] == 0.75
    assert go(tmp_path)[1].written == 0


def test_a_variants_own_strength_gives_way_to_a_sweep(tmp_path):
    variant = dataclasses.replace(entry(), strength=0.3)
    go(tmp_path, [variant], sweep=(), count=1)
    go(tmp_path, [variant], count=1)
    rows = read_rows(tmp_path)
    used = {strength: row["options"]["edit"]["eta"] for (*_, strength), row in rows.items()}
    assert used == {None: 0.3, **{strength: strength for strength in STRENGTHS}}
    # Where the user names one for all, the variant keeps its own.
    assert Trial(dataclasses.replace(variant, edit={"eta": 0.9}), None, None).at(None).edit_options.eta == 0.3


def test_shards_of_a_sweep_together_equal_one_run(tmp_path):
    written = [go(tmp_path / "parts", count=3, shard=Shard(index, 2))[1].written for index in (1, 2)]
    go(tmp_path / "whole", count=3)
    assert written == [6, 3]
    assert set(read_rows(tmp_path / "parts")) == set(read_rows(tmp_path / "whole"))


def test_a_method_without_a_strength_has_one_row(tmp_path):
    go(tmp_path, [entry("copy", method=Copy()), entry()], count=1)
    assert [(key[1], key[3]) for key in read_rows(tmp_path)] == [("copy", None), *(("fake", s) for s in STRENGTHS)]


def test_a_fit_that_fails_is_an_error_at_every_strength(tmp_path):
    _, summary = go(tmp_path, [entry(method=FakeMethod(refuse="sit 0")), entry("next")], count=1)
    assert (summary.written, summary.failed) == (6, 3)
    errors = {key[1:4:2]: row["error"] for key, row in read_rows(tmp_path).items()}
    assert {errors["fake", strength] for strength in STRENGTHS} == {"Say it in other words."}
    assert {errors["next", strength] for strength in STRENGTHS} == {None}


@pytest.mark.parametrize("options", [{"fit": {"effort": 2}}, {"preset": "hard"}])
def test_a_sweep_never_mixes_with_other_options(tmp_path, options):
    go(tmp_path)
    with pytest.raises(OutputError, match="other options"):
        go(tmp_path, [entry(**options)])
    with pytest.raises(OutputError, match="other options"):
        go(tmp_path, [entry(**options)], sweep=())


@pytest.mark.parametrize("fixed", [{"eta": 0.5}, {"etas": (0.5,)}])
def test_a_strength_that_is_set_is_not_swept(tmp_path, fixed):
    with pytest.raises(OptionError, match="set already"):
        go(tmp_path / "new", [entry(edit=fixed)])
    assert not (tmp_path / "new").exists()


def test_a_strength_out_of_range_fails_before_any_work(tmp_path):
    with pytest.raises(OptionError, match="eta"):
        go(tmp_path / "new", sweep=(0.5, 1.5))
    assert not (tmp_path / "new").exists()


def test_the_report_has_a_line_per_strength(tmp_path):
    go(tmp_path)
    table = markdown(load(tmp_path))
    for strength in STRENGTHS:
        assert f"| fake at {strength:g} | all | 2 |" in table


def test_how_a_sweep_is_written():
    assert parse_sweep("") == ()
    assert parse_sweep("strength") == SWEEP == tuple(step / 10 for step in range(3, 11))
    assert parse_sweep("strength=0.5,1") == (0.5, 1.0)


@pytest.mark.parametrize("text", ["eta", "strength=", "strength=a", "strength=0.1,,0.2", "0.5"])
def test_a_sweep_written_wrongly(text):
    with pytest.raises(OptionError, match="A sweep is written"):
        parse_sweep(text)
