"""A rater that knows the truth: the whole study without people, the same every time.

It prefers the result that the judge calls a success; of two alike, the one closer to the true edit (PSNR). The rest is
as with people: the same questions, the same store, the same count.
"""

from __future__ import annotations

import random

from imagic.bench.lines import score_of
from imagic.bench.rows import Row
from imagic.bench.study.questions import Question
from imagic.bench.study.store import Side
from imagic.bench.study.study import Study
from imagic.core.errors import NotAvailable


def simulate(study: Study) -> None:
    """One rater answers every question. More would say the same again, and only make the intervals look narrower.

    Raises NotAvailable for results whose truth is not known.
    """
    token = study.join("simulated")
    questions = [question for question, _ in study.store.questions(token)]
    study.store.answer(token, {question.number: _decide(study, question) for question in questions})


def _decide(study: Study, question: Question) -> Side:
    left, right = (_worth(study.row(question.item, arm)) for arm in (question.left, question.right))
    if left != right:
        return "left" if left > right else "right"
    # A coin that falls alike when the pair is asked again.
    arms = sorted((question.left, question.right))
    liked = random.Random(f"{study.seed}/{question.item}/{arms}").choice(arms)
    return "left" if liked == question.left else "right"


def _worth(row: Row) -> tuple[bool, float]:
    closeness = score_of(row, "psnr_truth")
    if closeness is None:
        raise NotAvailable(
            f"The true edit of {row['item']} is not known, so nobody can be simulated: ask people, or run a suite with"
            " known truth, such as menagerie."
        )
    return row["success"] is True, closeness
