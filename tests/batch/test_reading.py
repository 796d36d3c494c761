"""Jobs from tables and folders: what each line becomes, and what is refused before any work, with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagic.batch.jobs import Defaults, Job
from imagic.batch.reading import read_jobs
from imagic.core.errors import ImagicError, OptionError, TextError


def table(tmp_path: Path, *lines: dict[str, Any]) -> Path:
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "jobs.csv"
    path.write_bytes(text.encode())
    return path


def test_a_line_says_all_and_the_command_the_rest(tmp_path: Path) -> None:
    whole = {
        "image": "in/dog.png", "text": "a cat", "source_text": "a dog", "mask": "m.png", "method": "diffedit",
        "preset": "", "seed": 5, "fit_seed": 2, "strength": 0.25, "crop": [1, 2, 30, 40], "plain": True,
        "output": "cats/one.webp", "num_steps": 7,
    }  # fmt: skip
    defaults = Defaults(text="a cow", seed=9, strengths=(0.75,), options={"guidance_scale": 2.0})
    first, second = read_jobs(table(tmp_path, whole, {"image": "b.png", "method": "sdedit"}), defaults)
    assert first == Job(
        root=str(tmp_path), image="in/dog.png", text="a cat", source_text="a dog", mask="m.png", method="diffedit",
        preset="", fit_seed=2, seed=5, strength=0.25, crop=(1, 2, 30, 40), plain=True,
        options={"guidance_scale": 2.0, "num_steps": 7}, output="cats/one.webp",
    )  # fmt: skip
    assert (second.text, second.seed, second.fit_seed, second.strength) == ("a cow", 9, 9, 0.75)
    assert (second.output, second.options, second.plain) == ("b-a-cow.png", {"guidance_scale": 2.0}, False)


def test_csv_and_json_lines_say_the_same(tmp_path: Path) -> None:
    text = (
        "\ufeffimage,text,seed,eta,crop,plain,mask,num_steps,sampler\r\n"
        'a.png,"a cat, sitting",3,0.5,"0,0,20,20",true,auto,4,ddim\r\n'
        "b.png,12,,auto,,,,,\r\n"
    )
    from_csv = read_jobs(csv(tmp_path, text), Defaults())
    lines = (
        {"image": "a.png", "text": "a cat, sitting", "seed": 3, "eta": 0.5, "crop": [0, 0, 20, 20], "plain": True,
         "mask": "auto", "num_steps": 4, "sampler": "ddim"},
        {"image": "b.png", "text": "12", "eta": "auto"},
    )  # fmt: skip
    assert from_csv == read_jobs(table(tmp_path, *lines), Defaults())
    assert [job.strength for job in from_csv] == [0.5, None]


def test_a_folder_gives_its_pictures_the_text_beside_or_the_commands(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG"):
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "b.txt").write_text("a cow \n")
    (tmp_path / "notes.md").touch()
    jobs = read_jobs(tmp_path, Defaults(text="a cat"))
    assert [(job.image, job.text, job.output) for job in jobs] == [
        ("a.PNG", "a cat", "a-a-cat.png"),
        ("b.jpg", "a cow", "b-a-cow.png"),
    ]
    with pytest.raises(TextError, match=r"a\.PNG: There is no text"):
        read_jobs(tmp_path, Defaults())


def test_each_strength_and_seed_is_a_job_and_seeds_share_the_fit(tmp_path: Path) -> None:
    jobs = read_jobs(
        table(tmp_path, {"image": "a.png", "text": "x"}), Defaults(strengths=(0.5, 1.0), num_seeds=2, seed=3)
    )
    assert [(job.strength, job.seed, job.fit_seed) for job in jobs] == [
        (0.5, 3, 3),
        (0.5, 4, 3),
        (1.0, 3, 3),
        (1.0, 4, 3),
    ]
    assert jobs[3].output == "a-x-eta1-seed4.png"
    assert len({job.fit_key() for job in jobs}) == 1
    assert len({job.asked({}) for job in jobs}) == 4


def test_an_instruction_is_the_text_of_methods_that_follow_them(tmp_path: Path) -> None:
    line = {"image": "a.png", "text": "a cat", "instruction": "make it a cat"}
    told, described = read_jobs(
        table(tmp_path, {**line, "method": "instruct_pix2pix"}, {**line, "method": "imagic"}), Defaults()
    )
    assert (told.text, described.text) == ("make it a cat", "a cat")
    with pytest.raises(TextError):
        read_jobs(table(tmp_path, {"image": "a.png", "instruction": "make it a cat"}), Defaults())


@pytest.mark.parametrize(
    "change",
    [{"text": "y"}, {"fit_seed": 1}, {"seed": 1}, {"method": "unitune"}, {"crop": [0, 0, 16, 16]},
     {"network_steps": 3}, {"preset": "fast"}, {"source_text": "z"}, {"image": "b.png"}],
)  # fmt: skip
def test_whatever_decides_the_fit_parts_groups(tmp_path: Path, change: dict[str, Any]) -> None:
    line = {"image": "a.png", "text": "x", "output": "1"}
    one, other = read_jobs(table(tmp_path, line, {**line, "output": "2", **change}), Defaults())
    assert one.fit_key() != other.fit_key()


def test_what_is_asked_is_the_same_wherever_the_table_lies(tmp_path: Path) -> None:
    line = {"image": "a.png", "text": "x"}
    (tmp_path / "moved").mkdir()
    (here,), (there,) = (read_jobs(table(folder, line), Defaults()) for folder in (tmp_path, tmp_path / "moved"))
    assert here.root != there.root
    assert here.asked({"model": "m"}) == there.asked({"model": "m"}) != there.asked({"model": "n"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({}, "'image' cannot be used: field required"),
        ({"image": ""}, "'image'"),
        ({"image": "b.png", "seed": "1"}, "'seed' cannot be used: input should be a valid integer"),
        ({"image": "b.png", "seed": -1}, "'seed'"),
        ({"image": "b.png", "strength": True}, "'strength'"),
        ({"image": "b.png", "eta": 0.5, "strength": 0.5}, "either strength or eta"),
        ({"image": "b.png", "eta": 9.0}, "must lie between"),
        ({"image": "b.png", "steps": 9}, "has no option 'steps'"),
        ({"image": "b.png", "num_steps": 0}, "must lie between"),
        ({"image": "b.png", "method": "imagik"}, "did you mean 'imagic'"),
        ({"image": "b.png", "preset": "slow"}, "no preset 'slow'"),
        ({"image": "b.png", "text": "x" * 3000}, "shorten it"),
        ({"image": "b.png", "output": "../b.png"}, "no name within the folder"),
        ({"image": "a.png"}, r"The result would be a-x\.png, as that of Line 1 of jobs\.jsonl"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    with pytest.raises(ImagicError, match=message) as refused:
        read_jobs(table(tmp_path, {"image": "a.png"}, line), Defaults(text="x"))
    assert str(refused.value).startswith("Line 2 of jobs.jsonl: ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("jobs.jsonl", b'{"image": "a.png"\n', "Line 1 of jobs.jsonl: This is no JSON object"),
        ("jobs.jsonl", b"[1]\n", "Line 1 of jobs.jsonl: This is no JSON object"),
        ("jobs.jsonl", b"\xff\n", "UTF-8"),
        ("jobs.jsonl", b"\n\n", "There are no jobs in"),
        ("jobs.csv", b"", "no column 'image'"),
        ("jobs.csv", b"picture,text\na.png,x\n", "no column 'image'"),
        ("jobs.csv", b"image,text\na.png,x,y\n", "Line 2 of jobs.csv: The line has more cells"),
        ("jobs.csv", b'image,text\na.png,"x\n', "is no CSV"),
        ("jobs.xlsx", b"PK", r"no folder and no .jsonl or .csv"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(OptionError, match=message):
        read_jobs(path, Defaults(text="x"))


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="There are no jobs"):
        read_jobs(tmp_path, Defaults(text="x"))
    with pytest.raises(OptionError, match="no folder"):
        read_jobs(tmp_path / "gone", Defaults(text="x"))
