"""Automatic eta on curves whose knee is known in closed form, and where there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagic.methods import _strength
from imagic.methods._strength import LEAN, MAX_RISE, USUAL_ETA, choose_eta, neighbours

GRID = [i / 10 for i in range(11)]


def test_the_knee_of_a_parabola_over_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A = 1 - (1 - x)^2 and D = x, whatever the agreement's scale and offset: A - w D is highest at x = 1 - w / 2, and
    less 2 (x - 0.7)^2 at (4.8 - w) / 6."""
    agreement = [40 * (1 - (1 - x) ** 2) - 37 for x in GRID]
    assert (LEAN, USUAL_ETA) == (2.0, 0.7)
    assert choose_eta(GRID, agreement, GRID, 1.2).eta == 0.6
    assert choose_eta(GRID, agreement, GRID, 0.0).eta == 0.8
    assert choose_eta(GRID, agreement, GRID, 1.0).utility[5] == pytest.approx(0.75 - 0.5 - 2 * 0.2**2)
    monkeypatch.setattr(_strength, "LEAN", 0.0)
    assert choose_eta(GRID, agreement, GRID, 1.0).eta == 0.5
    assert choose_eta(GRID, agreement, GRID, 0.2).eta == 0.9


@given(st.floats(0.5, MAX_RISE), st.floats(-50, 50), st.floats(0, 5), st.floats(0.0, 2.0))
def test_the_agreement_counts_relative_to_its_own_ends(
    scale: float, offset: float, start: float, weight: float
) -> None:
    fits = [0, 0.02, 0.05, 0.1, 0.2, 0.55, 0.85, 0.93, 0.96, 0.98, 1]
    far = [0, 0.01, 0.03, 0.05, 0.1, 0.25, 0.41, 0.5, 0.8, 0.9, 1]
    plain = choose_eta(GRID, fits, far, weight)
    scaled = choose_eta(GRID, [offset + scale * a for a in fits], [start + d for d in far], weight)
    assert scaled.utility == pytest.approx([value - weight * start for value in plain.utility], abs=1e-6)


def test_a_jump_and_then_creeping_agreement_gives_the_jump() -> None:
    """A measured curve: the posture changes between 0.5 and 0.7; from 0.8 on the ground changes too."""
    etas = [0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    agreement = [-39, -39, -34, -15, -1, 3, 3, 3.5, 4.4]
    distance = [0.2, 0.2, 0.22, 0.3, 0.38, 0.4, 0.62, 0.66, 0.7]
    choice = choose_eta(etas, agreement, distance, 1.0)
    assert (choice.eta, choice.knee, choice.warnings) == (0.7, 5, ())


def test_what_has_not_come_half_way_to_the_text_is_no_edit() -> None:
    """The picture drifts before the text is met: closeness alone would keep the input."""
    agreement = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100]
    distance = [0, 0.5, 0.7, 0.8, 0.9, 0.92, 0.94, 0.96, 0.97, 0.98, 1]
    assert choose_eta(GRID, agreement, distance, 1.0).eta == 1
    assert choose_eta(GRID, agreement, distance, 0.9).eta == 1


def test_a_long_way_to_the_text_counts_its_last_part() -> None:
    """As a sketch comes: from -400 up to -30 nothing but contrast goes, and at 35 of 60 the strokes are there."""
    agreement = [-400, -380, -350, -300, -200, -110, -30, 10, 35, 50, 60]
    distance = [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.45, 0.55, 0.75, 0.95]
    choice = choose_eta(GRID, agreement, distance, 1.0)
    assert choice.eta == 0.8
    assert choice.utility[8] == pytest.approx((35 + 40) / MAX_RISE - 0.55 - LEAN * 0.1**2)


def test_where_the_sweep_hardly_tells_the_usual_eta() -> None:
    """The agreement rises as fast as the distance: all strengths from 0.5 on are as good but for the lean."""
    assert choose_eta(GRID, GRID, GRID, 1.0).eta == USUAL_ETA


def test_at_equal_utility_the_smaller_eta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strength, "LEAN", 0.0)
    assert choose_eta([0, 0.5, 1], [0, 5, 10], [0, 0.5, 1], 1.0).eta == 0.5


def test_where_eta_1_has_drifted_the_best_of_the_sweep_is_the_far_end() -> None:
    """Agreement -10 -> 10 -> -10: relative to its peak the knee lies before it, where the picture is nearer."""
    agreement = [-10, -9, -6, 0, 8, 10, 5, 0, -5, -9, -10]
    distance = [0.1, 0.1, 0.15, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9, 1, 1.1]
    choice = choose_eta(GRID, agreement, distance, 1.0)
    assert (choice.eta, choice.warnings) == (0.4, ())


@pytest.mark.parametrize("agreement", [[5.0] * 11, [-0.1 * x for x in range(11)], [0.01 * x for x in range(11)]])
def test_an_agreement_that_does_not_rise_chooses_nothing(agreement: list[float]) -> None:
    choice = choose_eta(GRID, agreement, [0.1 * x for x in range(11)], 0.5)
    assert (choice.eta, choice.knee, choice.utility) == (USUAL_ETA, None, ())
    assert "does not rise" in choice.warnings[0]


def test_a_distance_that_does_not_grow_leaves_the_choice_to_the_agreement() -> None:
    agreement = [0, 1, 2, 3, 4, 9, 12, 11, 10, 10, 10]
    assert choose_eta(GRID, agreement, [0.4] * 11, 0.5).eta == 0.6


def test_neighbours_fill_the_gaps_around_the_knee() -> None:
    assert neighbours([0, 0.3, 0.6, 1], 1, 4) == pytest.approx([0.1, 0.2, 0.4, 0.5])
    assert neighbours([0, 0.3, 0.6, 1], 1, 3) == pytest.approx([0.1, 0.2, 0.45])
    assert neighbours([0, 0.5, 1], 2, 4) == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert neighbours([0, 0.5, 1], 1, 0) == []
