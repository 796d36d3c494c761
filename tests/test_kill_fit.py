"""Killed with SIGKILL at random moments, an edit ends with the pixels of one that was left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.kill_fit import trial

from tests.conftest import build_pipeline


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_edit_that_is_killed_twenty_times_gives_the_same_pixels(tmp_path: Path) -> None:
    build_pipeline(word_level=True).save_pretrained(tmp_path / "model")
    (tmp_path / "work").mkdir()
    report = trial(tmp_path / "work", tmp_path / "model", times=20, seed=1)
    assert sum(report.kills.values()) == 20
    assert report.wrong == []
    assert report.left == []
    # Else the kills missed the fit, and nothing was shown.
    assert report.resumed > 0
    assert report.kills["embedding"] + report.kills["network"] > 0
