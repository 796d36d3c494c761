"""The judge: its file, its refusals, and what it makes of its networks' outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from imagic.core.errors import ModelError
from imagic.menagerie import judge as judge_module
from imagic.menagerie.facts import FACTS
from imagic.menagerie.judge import FILE, Judge, Reader, load_judge
from imagic.menagerie.training.world import draw, scenes_of


@pytest.fixture(scope="module")
def judge() -> Judge:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reader = Reader()
    return Judge(reader, threshold=0.123)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return draw(scenes_of(0, 5))


def test_a_saved_judge_reads_the_same(judge: Judge, images: Tensor, tmp_path: Path) -> None:
    judge.save(tmp_path / FILE)
    loaded = load_judge(tmp_path / FILE)
    before, after = judge.reader(images)[0], loaded.reader(images)[0]
    for name in FACTS:  # an untrained judge's facts lie so near each other that rounding may choose among them
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0.05 * float(before[name].abs().max()))
    assert torch.cosine_similarity(loaded.embed(images), judge.embed(images)).min() > 0.999
    assert loaded.threshold == judge.threshold
    assert not any(p.requires_grad for p in loaded.reader.parameters())


def test_its_file_is_small(judge: Judge, tmp_path: Path) -> None:
    judge.save(tmp_path / FILE)
    assert (tmp_path / FILE).stat().st_size < 5e6


def test_a_missing_judge_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train one with 'imagic menagerie train judge'"):
        load_judge(tmp_path / FILE)


def test_a_damaged_file_is_refused(judge: Judge, tmp_path: Path) -> None:
    judge.save(tmp_path / FILE)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        load_judge(tmp_path / FILE)


@pytest.mark.parametrize("facts", [{**FACTS, "place": ("moon", "mars")}, {"species": FACTS["species"]}, None])
def test_a_judge_of_other_facts_is_refused(judge: Judge, tmp_path: Path, facts: dict[str, object] | None) -> None:
    judge.save(tmp_path / FILE)
    with safe_open(tmp_path / FILE, "pt") as file:
        header = file.metadata()
    header |= {"facts": json.dumps(facts)} if facts else {}
    if not facts:
        del header["facts"]
    save_file(load_file(tmp_path / FILE), tmp_path / "other.safetensors", header)
    with pytest.raises(ModelError, match="other facts"):
        load_judge(tmp_path / "other.safetensors")


def test_a_judge_of_another_network_is_refused(judge: Judge, tmp_path: Path) -> None:
    judge.save(tmp_path / FILE)
    with safe_open(tmp_path / FILE, "pt") as file:
        header = file.metadata()
    tensors = load_file(tmp_path / FILE)
    del tensors["identity.bias"]
    save_file(tensors, tmp_path / "other.safetensors", header)
    with pytest.raises(ModelError, match="another network"):
        load_judge(tmp_path / "other.safetensors")


def test_it_reads_the_likeliest_value(judge: Judge, images: Tensor) -> None:
    with torch.no_grad():
        logits, embedding = judge.reader(images)
    assert judge.read(images) == [
        {name: FACTS[name][int(logits[name][row].argmax())] for name in FACTS} for row in range(len(images))
    ]
    torch.testing.assert_close(judge.embed(images), embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(judge.embed(images).norm(dim=1), torch.ones(len(images)))


def test_it_reads_many_pictures_as_it_reads_each(judge: Judge, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "CHUNK", 2)
    each = torch.cat([judge.embed(image[None]) for image in images])
    torch.testing.assert_close(judge.embed(images), each, rtol=1e-4, atol=1e-5)


def test_pictures_of_another_size_are_refused(judge: Judge) -> None:
    with pytest.raises(ModelError, match="128 pixels, not 32"):
        judge.read(torch.zeros(1, 3, 32, 32))


def test_likeness_is_a_cosine(judge: Judge, images: Tensor) -> None:
    a, b = images[:2], images[2:4]
    cosine = torch.cosine_similarity(judge.embed(a), judge.embed(b))
    torch.testing.assert_close(judge.likeness(a, b), cosine)
    torch.testing.assert_close(judge.likeness(a, a), torch.ones(2))
    assert (cosine < 1).all()
