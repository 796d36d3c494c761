"""The sweep behind Imagic's preset: its settings can be used, and its frontier is one."""

from __future__ import annotations

from typing import Any

from benchmarks.imagic_presets import SETTINGS, SLOW, Outcome, entries, frontier, outcomes, plot

from imagic.bench.trials import trials_of


def row(label: str, success: bool, fit: float, edit: float, error: str | None = None) -> dict[str, Any]:
    return {"label": label, "success": success, "seconds": {"fit": fit, "edit": edit}, "error": error}


def test_every_setting_is_one_and_differs_from_all_others() -> None:
    trials = trials_of(entries([*SETTINGS, *SLOW]))
    assert len({repr((trial.fit_options, trial.edit_options)) for trial in trials}) == len(SETTINGS) + len(SLOW)
    alike = [trial.entry.label for trial in trials if trials[0].fits_like(trial)]
    assert alike == list(SETTINGS)[: len(alike)]
    assert len(alike) > 5


def test_an_outcome_is_a_share_and_a_median() -> None:
    rows = [row("a", True, 1, 2), row("a", False, 2, 3), row("b", True, 0, 4), row("a", False, 9, 9, "no brush")]
    assert outcomes(rows) == [Outcome("a", 1 / 3, 4), Outcome("b", 1, 4)]


def test_the_frontier_is_what_none_beats_in_both() -> None:
    found = [Outcome(*each) for each in (("d", 0.5, 3), ("a", 0.2, 1), ("c", 0.1, 2), ("b", 0.5, 2), ("e", 0.9, 8))]
    assert [each.name for each in frontier(found)] == ["a", "b", "e"]
    assert all(f">{name}<" in plot(found) for name in "abcde")
