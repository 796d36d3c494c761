"""Fitting with what is kept: found again by content, gone on with from a checkpoint, or made anew.

The key of a fit is a hash of all that decides it: the picture as the model sees it, texts, options and seed, the
model's fingerprint and an encoder's files, and the code and libraries that do the arithmetic.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

import imagic
from imagic._cache import Cache
from imagic._progress import OnProgress, finish
from imagic.core.encoder import encoder_folder
from imagic.core.types import Backbone, FitRequest, Method, Progress, State

LIBRARIES = ("torch", "diffusers", "transformers", "peft")
# The parts of the package that a fit runs through.
PARTS = ("core", "methods", "backbones")


def fit_state(
    editor: Method,
    backbone: Backbone,
    request: FitRequest,
    options: Any,
    cache: Cache | None = None,
    on_progress: OnProgress | None = None,
) -> State:
    """What the method's fit gives. With a cache, a fit that was made before is found, and one that was ended goes on.

    Where it is ended, the exception carries a note on what is kept (BaseException.add_note).
    """
    if cache is None:
        return finish(editor.fit(backbone, request, options), on_progress)
    key = content_key(editor, backbone, request, options)
    with cache.opened(key, on_progress) as place:
        if (found := place.find()) is not None:
            if on_progress is not None:
                on_progress(Progress("fit found in the cache", 1, 1))
            return found
        checkpoint = place.checkpoint()
        if checkpoint.place and on_progress is not None:
            on_progress(Progress(f"going on from {checkpoint.place}", 1, 1))
        try:
            state = finish(editor.fit(backbone, replace(request, checkpoint=checkpoint), options), on_progress)
        except BaseException as error:
            if checkpoint.save():
                error.add_note(f"The fit is kept as of {checkpoint.place}; the same command goes on from there.")
            raise
        if place.keep(state):
            checkpoint.remove()
        return state


def content_key(editor: Method, backbone: Backbone, request: FitRequest, options: Any) -> str:
    """64 hex digits, the same for the same fit on any machine with the same versions and kind of device."""
    facts = {
        "method": editor.name,
        "code": _code(inspect.getfile(type(editor)), inspect.getfile(type(backbone))),
        "libraries": {name: version(name) for name in LIBRARIES},
        "model": backbone.fingerprint,
        "dtype": str(backbone.dtype),
        "device": backbone.device.type,
        "texts": [request.target_text, request.source_text, request.instruction],
        "seed": request.seed,
        "options": asdict(options),
        "encoder": _files(encoder_folder(options.encoder)) if hasattr(options, "encoder") else "",
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for tensor in (request.image, request.mask):
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor | None) -> bytes:
    if tensor is None:
        return b"none"
    values = tensor.detach().cpu().contiguous()
    return f"{values.dtype} {tuple(values.shape)}\n".encode() + values.numpy().tobytes()


def _files(folder: Path) -> str:
    """A hash of what lies in a folder of weights, which its name says nothing of."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()


@functools.cache
def _code(*further: str) -> str:
    """A hash of the sources that a fit runs through, and of the further files: other code, another fit."""
    home = Path(imagic.__file__).parent
    files = sorted(path for part in PARTS for path in (home / part).rglob("*.py"))
    digest = hashlib.sha256(imagic.__version__.encode())
    for path in [*files, *map(Path, further)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
