"""State files: what is written is what is read, and nothing else is."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imagic.core.conditioning import Conditioning
from imagic.core.errors import OutputError, StateError
from imagic.core.state import (
    check_state,
    load_state,
    pack_change,
    pack_conditioning,
    save_state,
    state_method,
    unpack_change,
    unpack_conditioning,
)
from imagic.core.types import State, WeightChange


@pytest.fixture
def state() -> State:
    generator = torch.Generator().manual_seed(0)
    return State(
        method="imagic",
        tensors={
            "z0": torch.randn(1, 4, 2, 2, generator=generator),
            "change.a.weight": torch.randn(3, 2, generator=generator).half(),
            "steps": torch.tensor(7),
            "turned": torch.randn(2, 3, generator=generator).T,
        },
        facts={"fingerprint": "abc", "model": "tiny", "target_text": "ein Hund, sitzend – 犬", "losses": [[0, 0.5]]},
    )


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """The safetensors header as JSON, and the bytes behind it."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def rewrite(path: Path, header: bytes, rest: bytes) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header + rest)


def test_a_round_trip_is_exact(state: State, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    save_state(state, path)
    read = load_state(path)
    assert (read.method, read.facts) == (state.method, state.facts)
    assert read.tensors.keys() == state.tensors.keys()
    for name, tensor in state.tensors.items():
        assert read.tensors[name].dtype == tensor.dtype
        assert torch.equal(read.tensors[name], tensor)
    assert os.listdir(tmp_path) == ["fit.safetensors"]


def test_a_state_has_the_order_in_memory_of_a_saved_one(state: State, tmp_path: Path) -> None:
    """Kernels round by it."""
    save_state(state, tmp_path / "fit.safetensors")
    for name, tensor in load_state(tmp_path / "fit.safetensors").tensors.items():
        assert state.tensors[name].stride() == tensor.stride()


def test_the_method_is_read_from_the_header_alone(state: State, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    save_state(state, path)
    assert state_method(path) == "imagic"
    path.write_bytes(path.read_bytes()[:-1] + b"x")  # damage to a tensor is not looked for
    assert state_method(path) == "imagic"
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(StateError, match="no state of imagic"):
        state_method(tmp_path / "weights.safetensors")
    with pytest.raises(StateError, match="Cannot read"):
        state_method(tmp_path / "missing.safetensors")


def test_it_is_an_ordinary_safetensors_file(state: State, tmp_path: Path) -> None:
    save_state(state, tmp_path / "fit.safetensors")
    assert torch.equal(load_file(tmp_path / "fit.safetensors")["z0"], state.tensors["z0"])


def test_a_file_is_replaced_only_when_asked(state: State, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        save_state(state, path)
    assert path.read_bytes() == b"mine"
    save_state(state, path, overwrite=True)
    assert load_state(path).method == "imagic"


def test_facts_that_are_no_numbers_leave_no_file(state: State, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        save_state(replace(state, facts={"moved": float("nan")}), tmp_path / "fit.safetensors")
    assert os.listdir(tmp_path) == []


def test_every_flipped_byte_is_noticed(state: State, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    save_state(state, path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(StateError):
            load_state(path)


@pytest.mark.parametrize("length", [0, 5, 8, 60, -1])
def test_a_truncated_file_is_refused(state: State, tmp_path: Path, length: int) -> None:
    path = tmp_path / "fit.safetensors"
    save_state(state, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StateError):
        load_state(path)


@pytest.mark.parametrize("size", [2**63, 2**40, 17 * 2**20])
def test_an_oversized_header_is_refused_unread(tmp_path: Path, size: int) -> None:
    path = tmp_path / "fit.safetensors"
    with path.open("wb") as file:
        file.write(size.to_bytes(8, "little"))
        file.truncate(18 * 2**20)
    with pytest.raises(StateError, match="header size"):
        load_state(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "lora.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(StateError, match="no state of imagic"):
        load_state(other)
    with pytest.raises(StateError, match="check the path"):
        load_state(tmp_path / "missing.safetensors")
    with pytest.raises(StateError):
        load_state(tmp_path)


def test_another_version_is_refused(state: State, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    save_state(state, path)
    header, rest = header_of(path)
    header["__metadata__"]["version"] = "2"
    rewrite(path, json.dumps(header).encode(), rest)
    with pytest.raises(StateError, match="version 2"):
        load_state(path)


def test_changed_facts_are_refused(state: State, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    save_state(state, path)
    header, rest = header_of(path)
    header["__metadata__"]["facts"] = header["__metadata__"]["facts"].replace("abc", "abd")
    rewrite(path, json.dumps(header).encode(), rest)
    with pytest.raises(StateError, match="digest"):
        load_state(path)


def test_a_state_belongs_to_its_method_and_model(state: State) -> None:
    same: Any = SimpleNamespace(name="renamed", fingerprint="abc")
    other: Any = SimpleNamespace(name="big", fingerprint="def")
    check_state(state, "imagic", same)
    with pytest.raises(StateError, match=r"model 'tiny' \(abc\).*'big' \(def\)"):
        check_state(state, "imagic", other)
    with pytest.raises(StateError, match="fitted by 'imagic', not 'ddib'"):
        check_state(state, "ddib", same)


def test_bundles_are_unpacked_as_they_were_packed() -> None:
    text = Conditioning({"sequence": torch.rand(1, 3, 2), "mask": torch.ones(1, 3)}, frozenset({"sequence"}))
    change = WeightChange("lora", {"down.0.a": torch.rand(2), "e": torch.rand(1)}, {"rank": 2})
    state = State("imagic", {**pack_conditioning("e", text), **pack_change("e_change", change)}, {})
    read = unpack_conditioning(state, "e", ["sequence"])
    assert (set(read.tensors), read.learnable) == ({"sequence", "mask"}, {"sequence"})
    assert torch.equal(read.tensors["mask"], text.tensors["mask"])
    again = unpack_change(state, "e_change", "lora", {"rank": 2})
    assert set(again.tensors) == {"down.0.a", "e"}
    with pytest.raises(StateError, match="no 'e_src'"):
        unpack_conditioning(state, "e_src", [])
