"""The real method on a tiny random model: what it returns fits a row. Whether it edits is not asked here."""

import pytest

from imagic.bench.ablations import SWEEP
from imagic.bench.baselines.generate import Generate
from imagic.bench.curves import eta_curve
from imagic.bench.report import load, markdown
from imagic.bench.rows import read_rows
from imagic.bench.runner import run
from imagic.methods.imagic import Imagic
from tests.bench.fakes import FakeSuite, drain, entry

FIT = {"embedding_steps": 2, "network_steps": 2, "embedding_pairs": 2, "network_pairs": 2, "measured_pairs": 2}
EDIT = {**SWEEP, "num_steps": 2, "search_steps": 2, "agreement_pairs": 2, "refine": 2}


@pytest.fixture
def rows(tmp_path, make_backbone):
    methods = [
        entry("imagic", method=Imagic(), fit=FIT, edit=EDIT),
        entry("generate", method=Generate(), edit={"num_steps": 2}),
    ]
    _, summary = drain(run(tmp_path, FakeSuite(count=2), methods, make_backbone(), seed=1))
    assert (summary.written, summary.failed) == (4, 0)
    return tmp_path


def test_a_row_holds_the_chosen_eta_and_the_whole_sweep(rows):
    for name in ("item/0", "item/1"):
        row = read_rows(rows)[name, "imagic", 1, None]
        assert 0 <= row["eta"] <= 1
        assert {each["seed"] for each in row["sweep"]} == {1}
        assert {"agreement", "distance"} <= set(row["sweep"][0]["scores"])
        assert row["options"]["fit"]["network_steps"] == 2
        assert float(row["scores"]["psnr_reconstruction_roundtrip"]) == pytest.approx(
            row["sweep"][-1]["scores"]["psnr"], abs=1e-3
        )


def test_report_and_curve_take_its_rows(rows):
    found = load(rows)
    curve = eta_curve(found, "imagic")
    # The refined strengths lie around each item's own knee; every tenth is common to all.
    assert {index / 10 for index in range(11)} <= {point.eta for point in curve}
    table = markdown(found)
    assert "| imagic | all | 2 | 0 |" in table
    assert "| generate | all | 2 | 0 |" in table
