"""Raters, their questions and their answers, in one SQLite file: each answer is on the disk before the next question.

A rater's questions are drawn once and kept, so that a study goes on after a restart as it began.
"""

from __future__ import annotations

import datetime
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from imagic.bench.study.questions import Question
from imagic.core.errors import OutputError

FORMAT = 1
NAME = "study.sqlite"
Side: TypeAlias = Literal["left", "right"]

_TABLES = f"""
CREATE TABLE IF NOT EXISTS raters (
    id INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    joined TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS questions (
    rater INTEGER NOT NULL REFERENCES raters,
    number INTEGER NOT NULL,
    item TEXT NOT NULL,
    left_arm TEXT NOT NULL,
    right_arm TEXT NOT NULL,
    repeats INTEGER,
    choice TEXT CHECK (choice IN ('left', 'right')),
    answered TEXT,
    PRIMARY KEY (rater, number)
);
PRAGMA user_version = {FORMAT};
"""


@dataclass(frozen=True)
class Answer:
    """rater: the rater's number. name: as given. chosen, other: arms."""

    rater: int
    name: str
    question: Question
    choice: Side

    @property
    def chosen(self) -> str:
        return self.question.left if self.choice == "left" else self.question.right

    @property
    def other(self) -> str:
        return self.question.right if self.choice == "left" else self.question.left


class Store:
    """The file. Each call opens it anew, so that threads and processes may share it.

    Raises OutputError for a file that is none of these, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                file.execute("PRAGMA journal_mode = WAL")
                file.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
            elif version != FORMAT:
                raise OutputError(f"{path} was made by a newer imagic: update imagic.")

    def join(self, name: str) -> tuple[int, str]:
        """A new rater's number, from 1, and the token by which they are known."""
        token = secrets.token_urlsafe(16)
        with self._open() as file:
            made = file.execute(
                "INSERT INTO raters (token, name, joined) VALUES (?, ?, ?) RETURNING id", (token, name, _now())
            )
            return int(made.fetchone()[0]), token

    def ask(self, rater: int, questions: Sequence[Question]) -> None:
        """Keep what a new rater will be asked."""
        rows = [(rater, each.number, each.item, each.left, each.right, each.repeats) for each in questions]
        with self._open() as file:
            file.executemany(
                "INSERT INTO questions (rater, number, item, left_arm, right_arm, repeats) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    def questions(self, token: str) -> list[tuple[Question, bool]]:
        """A rater's questions, and whether each has been answered; empty for an unknown token."""
        with self._open() as file:
            rows = file.execute(
                "SELECT number, item, left_arm, right_arm, repeats, choice FROM questions"
                " JOIN raters ON rater = id WHERE token = ? ORDER BY number",
                (token,),
            ).fetchall()
        return [(Question(*row[:5]), row[5] is not None) for row in rows]

    def answer(self, token: str, choices: Mapping[int, Side]) -> None:
        """Keep answers, by the question's number. The first stands; what answers no question changes nothing."""
        with self._open() as file:
            file.executemany(
                "UPDATE questions SET choice = ?, answered = ? WHERE number = ? AND choice IS NULL"
                " AND rater = (SELECT id FROM raters WHERE token = ?)",
                [(choice, _now(), number, token) for number, choice in choices.items()],
            )

    def answers(self) -> list[Answer]:
        """Every answer so far, rater by rater."""
        with self._open() as file:
            rows = file.execute(
                "SELECT rater, name, choice, number, item, left_arm, right_arm, repeats FROM questions"
                " JOIN raters ON rater = id WHERE choice IS NOT NULL ORDER BY rater, number"
            ).fetchall()
        return [Answer(row[0], row[1], Question(*row[3:]), row[2]) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are committed at the end of the block."""
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as file, file:
                yield file
        except sqlite3.Error as error:
            raise OutputError(f"The answers in {self.path} cannot be read or written ({error}).") from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
