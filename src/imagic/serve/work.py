"""One job done: from its folder and what was asked to the files of its result.

A job whose state is in its folder only renders: another edit from a finished fit is such a job, and one whose worker
died after the fit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagic
from imagic import api
from imagic._progress import OnProgress
from imagic._store import remove_rests
from imagic.core import registry
from imagic.core.describing import describe_candidate
from imagic.core.types import Backbone, Progress
from imagic.serve import outputs
from imagic.serve.decoding import read_upload


def do(
    request: Mapping[str, Any], folder: Path, backbone: Backbone, cache: imagic.Cache, on_progress: OnProgress
) -> dict[str, Any]:
    """The result as plain JSON values, its files written into the folder. request: as Service makes it.

    Raises an ImagicError as api.edit, and what on_progress raises.
    """
    started = time.monotonic()
    for name in (*outputs.FILES.values(), outputs.result_name(0)):
        remove_rests(folder / name)
    picture = read_upload(folder / outputs.INPUT, request["image"])
    given = request["mask"]
    mask = read_upload(folder / outputs.MASK, given) if isinstance(given, dict) else given
    method = registry.method(request["method"])
    fit_values, edit_values = api.split_options(method, request["options"])
    state = folder / outputs.STATE
    if state.is_file():
        fitted = imagic.Fit.load(state, picture, backbone)
    else:
        crop = request["crop"]
        fitted = imagic.fit(
            picture,
            request["text"],
            model=backbone,
            method=request["method"],
            preset=request["preset"],
            source_text=request["source_text"],
            seed=request["seed"],
            crop=crop and tuple(crop),
            options=fit_values,
            cache=cache,
            on_progress=on_progress,
        )
        fitted.save(state, overwrite=True)
    fit_seconds = time.monotonic() - started
    edited = imagic.edit(
        fitted,
        request["text"],
        strength=request["strength"],
        eta=request["eta"],
        seed=request["seed"],
        num_seeds=request["num_seeds"],
        plain=request["plain"],
        mask=mask,
        options=edit_values,
        on_progress=on_progress,
    )
    on_progress(Progress("writing the pictures", 0, 1))
    metadata = request["metadata"]
    edited.save_each([folder / outputs.result_name(i) for i in range(len(edited.chosen))], True, metadata)
    edited.sheet(folder / outputs.SHEET, overwrite=True, metadata=metadata)
    first = edited.results[0]
    if len({each.strength for each in (*first.sweep, *first.chosen)}) > 1:
        edited.animate(folder / outputs.ANIMATION, overwrite=True, metadata=metadata)
    if edited.masks and mask in (None, "auto"):
        edited.masks[0].save(folder / outputs.MASK, overwrite=True)
    return {
        "images": [describe_candidate(each) for each in edited.chosen],
        "sweep": [describe_candidate(each) for each in edited.sweep],
        "warnings": list(edited.warnings),
        "fit_seconds": fit_seconds,
        "edit_seconds": time.monotonic() - started - fit_seconds,
    }
