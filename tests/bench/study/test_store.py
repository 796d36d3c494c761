import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagic.bench.study.questions import Question
from imagic.bench.study.store import Store
from imagic.core.errors import OutputError

ASKED = [Question(1, "i", "a", "b"), Question(2, "j", "b", "a"), Question(3, "i", "b", "a", 1)]


def test_answers_are_there_at_once_for_everyone(tmp_path):
    store = Store(tmp_path / "study.sqlite")
    rater, token = store.join("Jo")
    store.ask(rater, ASKED)
    store.answer(token, {2: "left"})
    again = Store(tmp_path / "study.sqlite")
    assert again.questions(token) == [(ASKED[0], False), (ASKED[1], True), (ASKED[2], False)]
    (only,) = again.answers()
    assert (only.rater, only.name, only.question, only.choice) == (1, "Jo", ASKED[1], "left")
    assert (only.chosen, only.other) == ("b", "a")


def test_the_first_answer_stands_and_strangers_change_nothing(tmp_path):
    store = Store(tmp_path / "study.sqlite")
    rater, token = store.join("Jo")
    store.ask(rater, ASKED)
    store.answer(token, {1: "right"})
    for known_as, number in ((token, 1), (token, 9), ("nobody", 2)):
        store.answer(known_as, {number: "left"})
    assert [(each.question.number, each.choice, each.chosen) for each in store.answers()] == [(1, "right", "b")]
    assert store.questions("nobody") == []
    with pytest.raises(OutputError):
        store.answer(token, {2: "up"})


def test_raters_do_not_mix_and_may_answer_at_once(tmp_path):
    store = Store(tmp_path / "study.sqlite")

    def whole(name):
        rater, token = store.join(name)
        store.ask(rater, ASKED)
        for question in ASKED:
            store.answer(token, {question.number: "left"})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(whole, "abcdefgh"))
    answers = store.answers()
    assert len(answers) == 24
    assert sorted({(each.rater, each.name) for each in answers}, key=lambda pair: pair[1])[0][1] == "a"
    assert len({each.rater for each in answers}) == 8


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at closely\n" * 20)
    with pytest.raises(OutputError, match="cannot be read or written"):
        Store(tmp_path / "text")
    with pytest.raises(OutputError, match="cannot be read or written"):
        Store(tmp_path / "missing" / "study.sqlite")
    with sqlite3.connect(tmp_path / "newer") as file:
        file.execute("PRAGMA user_version = 2")
    with pytest.raises(OutputError, match="newer imagic"):
        Store(tmp_path / "newer")
