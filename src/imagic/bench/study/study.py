"""One study: which results of a run are compared, and what a rater sees of them.

A rater learns nothing about which method made a picture: pictures are known by question and side alone.
"""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from imagic.bench import strips
from imagic.bench.arms import arm_of
from imagic.bench.rows import Row
from imagic.bench.study.questions import Pair, Question, draw_questions
from imagic.bench.study.store import Store
from imagic.core.errors import OptionError, OutputError
from imagic.core.images import to_rgb


@dataclass(frozen=True)
class Shown:
    """A rater's present question, and how many there are."""

    question: Question
    total: int
    text: str


@dataclass(frozen=True)
class Study:
    """folder: of the run. rows: of each (item, arm) that has a result. pairs: that new raters are asked about, `count`
    for each, None for all."""

    folder: Path
    rows: Mapping[tuple[str, str], Row]
    pairs: Sequence[Pair]
    store: Store
    count: int | None = None
    seed: int = 0

    def join(self, name: str) -> str:
        """A new rater, whose questions are drawn now; returns the token."""
        rater, token = self.store.join(name)
        self.store.ask(rater, draw_questions(self.pairs, random.Random(f"{self.seed}/{rater}"), self.count))
        return token

    def present(self, token: str) -> Shown | None:
        """The first question that has no answer yet; None when all have one.

        Raises KeyError for an unknown rater, OutputError for a question whose results have gone from the run.
        """
        questions = self.store.questions(token)
        if not questions:
            raise KeyError(token)
        open_ones = (question for question, answered in questions if not answered)
        question = next(open_ones, None)
        if question is None:
            return None
        return Shown(question, len(questions), self.row(question.item, question.left)["target_text"])

    def row(self, item: str, arm: str) -> Row:
        """Raises OutputError where the run has no such result."""
        if (item, arm) not in self.rows:
            raise OutputError(f"The result of {arm} on {item} is no longer in {self.folder.name}: put the run back.")
        return self.rows[item, arm]

    def picture(self, token: str, number: int, which: Literal["input", "left", "right"]) -> bytes:
        """A picture of a question as PNG. Raises KeyError for what is no question of the rater, OutputError for a file
        that is missing from the run."""
        question = {each.number: each for each, _ in self.store.questions(token)}[number]
        arm = question.right if which == "right" else question.left
        panel = "input" if which == "input" else "result"
        image = strips.panel(self.folder, self.row(question.item, arm)["picture"], panel)
        file = io.BytesIO()
        Image.fromarray(to_rgb(image)).save(file, "PNG")
        return file.getvalue()


def open_study(
    folder: Path,
    rows: Sequence[Row],
    answers: Path,
    methods: Sequence[str] = (),
    baseline: str = "",
    groups: Sequence[str] = (),
    count: int | None = None,
    seed: int = 0,
) -> Study:
    """A study of a run's results, each pair of methods on each item that both have a result for.

    answers: the file of the store; a study goes on where it is there. methods: of them only these, by label or, in a
    sweep, by label and strength ("sdedit at 0.7"). baseline: only pairs with this one. groups: only items of these.
    Raises OptionError for names that the run does not have, and when nothing is left to compare.
    """
    good = [row for row in rows if not row["error"]]
    known = dict.fromkeys(name for row in good for name in (row["label"], arm_of(row)))
    _check("method", [*methods, *([baseline] if baseline else [])], known)
    _check("group", groups, dict.fromkeys(row["group"] for row in good))
    found = {(row["item"], arm_of(row)): row for row in good}
    arms: dict[str, list[str]] = {}
    for (item, arm), row in found.items():
        if (not groups or row["group"] in groups) and (not methods or _named(row, [*methods, baseline])):
            arms.setdefault(item, []).append(arm)
    pairs = [
        Pair(item, *both)
        for item, mine in arms.items()
        for both in itertools.combinations(mine, 2)
        if not baseline or sum(_named(found[item, arm], [baseline]) for arm in both) == 1
    ]
    if not pairs:
        raise OptionError("There is no item with two results to compare: run two methods into one folder.")
    return Study(folder, found, pairs, Store(answers), count, seed)


def _named(row: Row, names: Sequence[str]) -> bool:
    return row["label"] in names or arm_of(row) in names


def _check(kind: str, names: Sequence[str], known: Mapping[str, None]) -> None:
    for name in names:
        if name not in known:
            raise OptionError(f"There are no results of the {kind} '{name}': choose among {', '.join(known)}.")
