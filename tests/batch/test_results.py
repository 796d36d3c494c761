"""The folder of results: what is left to do after every way in which a run can end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imagic.batch.jobs import MOST_TOGETHER, Job
from imagic.batch.results import Plan, Results
from imagic.batch.shards import ALL, Shard
from imagic.batch.types import Task
from imagic.core.errors import OutputError

SETTINGS = {"model": "m"}


def job(output: str, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "root": "/pictures", "image": f"{output}.jpg", "text": "a cat", "source_text": "", "mask": "",
        "method": "imagic", "preset": "", "fit_seed": 0, "seed": 0, "strength": None, "crop": None, "plain": False,
        "options": {}, "output": f"{output}.png",
    }  # fmt: skip
    return Job(**{**values, **changes})


JOBS = [job("a"), job("b"), job("sub/c")]


class Folder:
    """Results under `path`, planned anew each time, as by a new process. The worker writes a job's name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def results(self, shard: Shard = ALL, overwrite: bool = False, settings: Any = SETTINGS) -> Results:
        return Results(self.path, settings, shard, overwrite)

    def plan(self, jobs: Sequence[Job] = JOBS, **options: Any) -> tuple[Results, Plan]:
        results = self.results(**options)
        self.context = results.opened()
        self.context.__enter__()
        return results, results.plan(jobs)

    def end(self) -> None:
        self.context.__exit__(None, None, None)

    def left(self, jobs: Sequence[Job] = JOBS, **options: Any) -> list[str]:
        _, plan = self.plan(jobs, **options)
        assert plan.done == len(jobs) - len(plan.tasks)
        self.end()
        return [task.key for task in plan.tasks]

    def run(self, jobs: Sequence[Job] = JOBS, refuse: Sequence[str] = (), **options: Any) -> None:
        results, plan = self.plan(jobs, **options)
        for task in plan.tasks:
            if task.key in refuse:
                results.keep(task, {"error": "Say it in other words."})
            else:
                work(task)
                results.keep(task, {"error": None, "strength": 0.5})
        self.end()

    def report(self, name: str = "report.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / name).read_text().splitlines()]

    def pictures(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*.png"))


def work(task: Task) -> None:
    Path(task.values["place"]).write_text(task.key)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "out")


def test_a_run_leaves_pictures_a_line_each_and_nothing_else(folder: Folder) -> None:
    folder.run()
    assert folder.pictures() == ["a.png", "b.png", "sub/c.png"]
    assert (folder.path / "sub" / "c.png").read_text() == "sub/c.png"
    lines = folder.report()
    assert [(line["output"], line["state"], line["error"], line["image"]) for line in lines] == [
        ("a.png", "done", None, "a.jpg"),
        ("b.png", "done", None, "b.jpg"),
        ("sub/c.png", "done", None, "sub/c.jpg"),
    ]
    assert {path.name for path in folder.path.rglob("*") if path.is_file()} == {
        "a.png", "b.png", "c.png", "report.jsonl", "report.lock",
    }  # fmt: skip
    assert folder.left() == []


def test_failures_are_lines_and_are_tried_by_the_next_run(folder: Folder) -> None:
    folder.run(refuse=["b.png"])
    assert [line["state"] for line in folder.report()] == ["done", "failed", "done"]
    assert folder.report()[1]["error"] == "Say it in other words."
    assert not (folder.path / "b.png").exists()
    folder.run()
    assert [line["output"] for line in folder.report()] == ["a.png", "sub/c.png", "b.png"]
    assert {line["state"] for line in folder.report()} == {"done"}


def test_killed_between_the_picture_and_its_line_it_is_made_again(folder: Folder) -> None:
    _, plan = folder.plan()
    work(plan.tasks[0])
    folder.context.gen.close()  # type: ignore[attr-defined]
    assert folder.pictures() == [str(Path(plan.tasks[0].values["place"]).relative_to(folder.path))]
    assert folder.left() == ["a.png", "b.png", "sub/c.png"]
    folder.run()
    assert folder.pictures() == ["a.png", "b.png", "sub/c.png"]


def test_killed_between_the_line_and_the_name_the_picture_gets_its_name(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, plan = folder.plan()
    work(plan.tasks[0])
    with monkeypatch.context() as patch:
        patch.setattr(Results, "_publish", lambda *_: None)
        results.keep(plan.tasks[0], {"error": None})
    folder.context.gen.close()  # type: ignore[attr-defined]
    assert not (folder.path / "a.png").exists()
    assert folder.left() == ["b.png", "sub/c.png"]
    assert (folder.path / "a.png").read_text() == "a.png"
    assert [line["output"] for line in folder.report()] == ["a.png"]


def test_killed_in_the_middle_of_a_line_it_is_cut_off(folder: Folder) -> None:
    folder.run(JOBS[:1])
    with folder.results().report.open("ab") as report:
        report.write(b'{"output": "b.png", "err')
    assert folder.left() == ["b.png", "sub/c.png"]
    folder.run()
    assert [line["output"] for line in folder.report()] == ["a.png", "b.png", "sub/c.png"]


def test_a_picture_that_the_user_removed_is_made_again(folder: Folder) -> None:
    folder.run()
    (folder.path / "b.png").unlink()
    assert folder.left() == ["b.png"]
    folder.run()
    assert sorted(line["output"] for line in folder.report()) == ["a.png", "b.png", "sub/c.png"]


@pytest.mark.parametrize("strange", ["file", "link", "settings", "job"])
def test_files_of_something_else_are_never_replaced_unasked(folder: Folder, strange: str) -> None:
    jobs, settings = JOBS, SETTINGS
    folder.path.mkdir()
    if strange == "file":
        (folder.path / "b.png").write_text("mine")
    elif strange == "link":
        (folder.path / "b.png").symlink_to("nowhere")
    else:
        folder.run()
        jobs = [job("b", seed=1)] if strange == "job" else JOBS
        settings = {"model": "n"} if strange == "settings" else SETTINGS
    before = folder.pictures()
    with pytest.raises(OutputError, match=r"\.png is in .* already"):
        folder.plan(jobs, settings=settings)
    assert folder.pictures() == before


def test_overwriting_replaces_them_and_then_skips_what_is_done(folder: Folder) -> None:
    folder.path.mkdir()
    (folder.path / "b.png").write_text("mine")
    folder.run(overwrite=True)
    assert (folder.path / "b.png").read_text() == "b.png"
    assert folder.left(overwrite=True) == []
    changed = [job("a"), job("b", seed=1), job("sub/c")]
    assert folder.left(changed, overwrite=True) == ["b.png"]
    folder.run(changed, overwrite=True)
    assert sorted(line["output"] for line in folder.report()) == ["a.png", "b.png", "sub/c.png"]


def test_a_file_that_appears_meanwhile_is_left_and_the_job_fails(folder: Folder) -> None:
    results, plan = folder.plan(JOBS[:1])
    work(plan.tasks[0])
    (folder.path / "a.png").write_text("mine")
    results.keep(plan.tasks[0], {"error": None})
    folder.end()
    assert (folder.path / "a.png").read_text() == "mine"
    assert [(line["state"], line["error"]) for line in folder.report()] == [
        ("failed", "a.png appeared in the folder meanwhile: it was left as it is.")
    ]


def test_shards_part_the_jobs_but_never_those_of_one_fit(folder: Folder) -> None:
    jobs = [job(f"{name}{seed}", image=f"{name}.jpg", seed=seed) for name in "abcde" for seed in range(3)]
    left = []
    for index in (1, 2):
        _, plan = folder.plan(jobs, shard=Shard(index, 2))
        left.append([task.key for task in plan.tasks])
        folder.end()
    assert {key[0] for key in left[0]} == {"a", "c", "e"}
    assert sorted(left[0] + left[1]) == sorted(each.output for each in jobs)
    for index in (2, 1):
        results, plan = folder.plan(jobs, shard=Shard(index, 2))
        for task in plan.tasks:
            work(task)
            results.keep(task, {"error": None})
        folder.end()
    assert len(folder.report("report-1-of-2.jsonl")) == 9
    assert folder.left(jobs) == []


def test_many_seeds_of_one_fit_are_parted_so_that_others_can_help(folder: Folder) -> None:
    _, plan = folder.plan([job(f"a{seed}", image="a.jpg", seed=seed) for seed in range(MOST_TOGETHER + 1)])
    folder.end()
    groups = [task.group for task in plan.tasks]
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [MOST_TOGETHER, 1]
    assert len({task.values["fit"] for task in plan.tasks}) == 1


def test_one_process_at_a_time(folder: Folder) -> None:
    folder.plan()
    with pytest.raises(OutputError, match="Another run"), folder.results().opened():
        pass
    with folder.results(Shard(1, 2)).opened():  # another shard is another report
        pass
    folder.end()
    assert folder.left() == ["a.png", "b.png", "sub/c.png"]


def test_a_lock_goes_with_the_process_that_was_killed(folder: Folder) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from filelock import FileLock\n"
        f"lock = FileLock({str(folder.path / '.imagic-batch' / 'report.lock')!r}); lock.acquire()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    (folder.path / ".imagic-batch").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", code], check=False)
    assert folder.left() == ["a.png", "b.png", "sub/c.png"]


def test_a_link_does_not_lead_out_of_the_folder(folder: Folder, tmp_path: Path) -> None:
    folder.path.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder.path / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="outside"):
        folder.plan()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written to"), Folder(tmp_path / "file" / "out").results().opened():
        pass
