"""An arm of a run: a method at one strength. A run without a sweep over strengths has one arm per method."""

from __future__ import annotations

from collections.abc import Sequence

from imagic.bench.rows import Row


def strength_of(row: Row) -> float | None:
    """The strength that a sweep asked for; None in other runs."""
    strength = row.get("strength")
    return None if strength is None else float(strength)


def arm_of(row: Row) -> str:
    """The name under which a row is counted: its label, and its strength if the run swept strengths."""
    strength = strength_of(row)
    return str(row["label"]) if strength is None else f"{row['label']} at {strength:g}"


def by_arm(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each arm, in the order in which arms first occur."""
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(arm_of(row), []).append(row)
    return arms


def by_label(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each method, all its strengths together."""
    labels: dict[str, list[Row]] = {}
    for row in rows:
        labels.setdefault(row["label"], []).append(row)
    return labels
