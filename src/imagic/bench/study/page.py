"""What a rater sees: the welcome, a question, the end. Plain HTML that works without the script, too."""

from __future__ import annotations

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined

from imagic.bench.study.study import Shown, Study


def welcome(study: Study) -> str:
    """Asks for a name."""
    return _rendered(view="welcome", pairs=min(len(study.pairs), study.count or len(study.pairs)))


def question(token: str, shown: Shown | None) -> str:
    """One question; the end where there is none left."""
    if shown is None:
        return _rendered(view="end")
    number = shown.question.number
    return _rendered(view="question", token=token, number=number, total=shown.total, text=shown.text)


def sentence(text: str) -> str:
    """An error."""
    return _rendered(view="sentence", text=text)


def _rendered(**values: object) -> str:
    return _environment().get_template("study.html.jinja").render(**values)


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("imagic.bench"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
