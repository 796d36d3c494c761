"""A benchmark by other processes: the rows of one, each once, and what is wrong said before any row."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagic.batch.processes import Processes
from imagic.batch.types import Died, Finished, Summary
from imagic.bench.asked import Asked
from imagic.bench.rows import read_rows
from imagic.bench.runner import run_with
from imagic.bench.trials import trials_of
from imagic.bench.work import Trials
from imagic.core.errors import AbilityError, NotAvailable, OptionError
from tests.batch.fakes import ScriptedCrew
from tests.bench.fakes import FakeBackbone, FakeSuite, drain, entry
from tests.bench.pictures import json_lines, picture
from tests.conftest import build_pipeline


class BenchCrew(ScriptedCrew):
    """Workers in memory, each with a fake backbone of its own. dies: labels on items at which workers are lost."""

    def __init__(self, out: Path, count: int, dies: dict[str, int], sweep: tuple[float, ...]) -> None:
        super().__init__(count)
        self.dies = dies
        made = [Trials(out, FakeSuite(), trials_of([entry()], sweep), FakeBackbone(), 0, ()) for _ in self.names]
        self.works = dict(zip(self.names, made, strict=True))

    def facts(self):
        return self.works["a"].facts

    def events(self, tell):
        found = []
        for worker, task in [*self.busy.items()]:
            del self.busy[worker]
            if self.dies.get(task.key, 0) > 0:
                self.dies[task.key] -= 1
                found.append(Died(worker, "killed"))
            else:
                found.append(Finished(worker, self.works[worker].do(task, lambda progress: None)))
        return found


def comparable(out: Path) -> dict[object, dict[str, object]]:
    return {
        key: {name: value for name, value in row.items() if name not in ("seconds", "peak_memory")}
        for key, row in read_rows(out).items()
    }


def go(out: Path, count: int, dies: dict[str, int] | None = None, sweep: tuple[float, ...] = ()) -> Summary:
    crew = BenchCrew(out, count, dies or {}, sweep)
    summary: Summary = drain(run_with(crew, out, FakeSuite(), trials_of([entry()], sweep)))[1]
    return summary


def test_two_workers_of_which_one_dies_make_the_rows_of_one(tmp_path: Path) -> None:
    sweep = (0.25, 0.5)
    assert go(tmp_path / "one", 1, sweep=sweep) == Summary(12, 0, 0)
    assert go(tmp_path / "two", 2, {"fake at 0.5 on item/1": 1}, sweep) == Summary(12, 0, 0)
    assert comparable(tmp_path / "one") == comparable(tmp_path / "two")
    assert len((tmp_path / "two" / "rows.jsonl").read_text().splitlines()) == 12


def test_an_item_that_kills_its_workers_is_a_row_with_its_error(tmp_path: Path) -> None:
    assert go(tmp_path, 2, {"fake on item/1": 9}) == Summary(6, 1, 0)
    row = read_rows(tmp_path)["item/1", "fake", 0, None]
    assert row["error"] == "Its worker ended 3 times, the last time so: killed."
    assert (row["group"], row["model"]["name"], row["options"]["fit"]) == ("coat", "fake", {"effort": 1})


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_processes_open_the_same_run_from_plain_values(tmp_path: Path) -> None:
    build_pipeline(word_level=True).save_pretrained(tmp_path / "model")
    for name in "abc":
        picture(tmp_path / f"{name}.png", 20, 30)
    lines = [{"image": f"{name}.png", "target": "a cat"} for name in "abc"]
    asked = Asked(
        out=str(tmp_path / "out"),
        suite="pairs",
        methods=["sdedit", "copy"],
        data=str(json_lines(tmp_path / "edits.jsonl", *lines)),
        edit={"num_steps": 2},
        sweep=(0.5, 1.0),
        model={"name_or_path": str(tmp_path / "model")},
    )
    crew = Processes(asked.opening(), 2)
    summary = drain(run_with(crew, tmp_path / "out", asked.open_suite(), asked.trials()))[1]
    assert summary == Summary(9, 0, 0)
    again = drain(run_with(Processes(asked.opening(), 1), tmp_path / "out", asked.open_suite(), asked.trials()))[1]
    assert again == Summary(0, 0, 9)


def test_what_is_wrong_is_said_before_any_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagic.batch.inline import Inline
    from imagic.core.types import Ability
    from tests.bench.fakes import FakeMethod

    monkeypatch.setattr("imagic.bench.asked.api.load_model", lambda **_: FakeBackbone())
    picture(tmp_path / "a.png", 20, 30)
    data = str(json_lines(tmp_path / "edits.jsonl", {"image": "a.png", "target": "a cat"}))

    def run(**changes: object) -> None:
        values = {"out": str(tmp_path / "out"), "suite": "pairs", "methods": ["copy"], "data": data} | changes
        asked = Asked(**values)  # type: ignore[arg-type]
        drain(run_with(Inline(asked.opening().open), tmp_path / "out", asked.open_suite(), asked.trials()))

    with pytest.raises(NotAvailable, match="clip"):
        run(metrics=["clip-score"])
    with pytest.raises(OptionError):
        run(methods=["copy", "copy"])
    monkeypatch.setattr(FakeMethod, "needs", frozenset({Ability.CASCADE}))
    with pytest.raises(AbilityError):
        Trials(tmp_path, FakeSuite(), trials_of([entry()]), FakeBackbone(), 0, ())
    assert not (tmp_path / "out").exists()
