"""Tensors beside a JSON header in one safetensors file, with a digest over both: the form of states and of checkpoints.

A damaged, foreign or newer file is refused with a sentence rather than misread, and nothing runs when one is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from imagic.core.errors import OutputError, StateError
from imagic.core.files import replacing

# The safetensors header lists names, shapes and our facts: kilobytes for any network, never this much.
MAX_HEADER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Kind:
    """One kind of file. noun, advice: for messages, such as "state" and "fit again". sealed: the fields of the header
    that the digest covers beside the tensors; `facts`, JSON, is the last of them."""

    format: str
    version: int
    noun: str
    advice: str
    sealed: tuple[str, ...]


def write(
    path: Path, kind: Kind, tensors: Mapping[str, Tensor], fields: Mapping[str, str], overwrite: bool = False
) -> None:
    """Write `tensors` and the header's `fields` to `path`, whole or not at all.

    Raises OutputError when the file exists (and `overwrite` is off) or cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {
        "format": kind.format,
        "version": str(kind.version),
        **fields,
        "digest": _digest(stored, kind, fields),
    }
    with replacing(path, overwrite) as part:
        try:
            save_file(stored, part, metadata=header)
        except SafetensorError as error:
            raise OutputError(f"Cannot write the {kind.noun} to '{path}' ({error}): choose another place.") from error


def read(path: Path, kind: Kind) -> tuple[dict[str, Tensor], dict[str, str], dict[str, Any]]:
    """The tensors, on the CPU, the header, and its facts.

    Raises StateError for a file that is missing, damaged, of another kind or of another version.
    """
    check_header_size(path, kind)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            _check_version(header, path, kind)
            # Copies of their own: the file may be replaced, and kernels may round by how memory is aligned.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise StateError(f"'{path}' is damaged or no {kind.noun} file ({error}): {kind.advice}.") from error
    if not all(header.get(name) for name in kind.sealed) or header.get("digest") != _digest(tensors, kind, header):
        raise StateError(f"'{path}' is damaged (its contents do not match its digest): {kind.advice}.")
    return tensors, header, _facts(header, path, kind)


def read_header(path: Path, kind: Kind) -> dict[str, str]:
    """The header alone, which may be a damaged file's. Raises StateError as `read`."""
    check_header_size(path, kind)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise StateError(f"'{path}' is damaged or no {kind.noun} file ({error}): {kind.advice}.") from error
    _check_version(header, path, kind)
    return dict(header)


def check_header_size(path: Path, kind: Kind) -> None:
    """Refuse a header length that the file cannot hold, before anything allocates it. Raises StateError."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        total = path.stat().st_size
    except OSError as error:
        raise StateError(f"Cannot read the {kind.noun} '{path}' ({error.strerror}): check the path.") from error
    if total < 8 or size > min(total - 8, MAX_HEADER_BYTES):
        raise StateError(f"'{path}' is damaged or no {kind.noun} file (impossible header size): {kind.advice}.")


def _check_version(header: Mapping[str, str], path: Path, kind: Kind) -> None:
    if header.get("format") != kind.format:
        raise StateError(f"'{path}' is a safetensors file but no {kind.noun} of imagic: give a file that a fit saved.")
    if header.get("version") != str(kind.version):
        raise StateError(
            f"'{path}' has {kind.noun} version {header.get('version')}, this imagic reads version {kind.version}: "
            f"{kind.advice}."
        )


def _facts(header: Mapping[str, str], path: Path, kind: Kind) -> dict[str, Any]:
    try:
        facts = json.loads(header["facts"])
    except (ValueError, RecursionError) as error:
        raise StateError(f"'{path}' is damaged (its facts cannot be read): {kind.advice}.") from error
    if not isinstance(facts, dict):
        raise StateError(f"'{path}' is damaged (its facts are no table): {kind.advice}.")
    return facts


def _digest(tensors: Mapping[str, Tensor], kind: Kind, fields: Mapping[str, str]) -> str:
    digest = hashlib.sha256("".join(f"{fields[name]}\n" for name in kind.sealed).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
