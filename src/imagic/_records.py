"""The record of a fit and of each image made from it: one record, filled in as the work goes on."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from imagic import __version__
from imagic.core.errors import ImageError, StateError
from imagic.core.frame import Frame
from imagic.core.images import Picture
from imagic.core.provenance import Record, portable, portable_model_name
from imagic.core.types import Backbone, Candidate, FitRequest, State

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow")  # those that decide the pixels
KEY = "record"  # in the facts of a state


def of_fit(
    method: str, request: FitRequest, picture: Picture, frame: Frame, backbone: Backbone, preset: str, options: Any
) -> Record:
    """The record of a fit, at strength 0. options: an instance of the method's FitOptions."""
    box = frame.box
    return Record(
        package_version=__version__,
        method=method,
        model=portable_model_name(backbone.name),
        model_fingerprint=backbone.fingerprint,
        target_text=request.target_text,
        source_text=request.source_text,
        preset=preset,
        fit_options=portable(asdict(options)),
        fit_seed=request.seed,
        seed=request.seed,
        strength=0.0,
        dtype=str(backbone.dtype).removeprefix("torch."),
        device=backbone.device.type,
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        input_sha256=picture.sha256,
        input_pixels_sha256=picture.pixels_sha256,
        width=frame.width,
        height=frame.height,
        side=frame.side,
        crop=None if box == (0, 0, frame.width, frame.height) else (box.left, box.top, box.width, box.height),
    )


def of_image(
    fitted: Record, candidate: Candidate, options: Any, target_text: str, plain: bool, masked: Mapping[str, Any]
) -> Record:
    """The record of one result. options: an instance of the method's EditOptions. masked: a mask's fields, or none."""
    made = {
        "edit_options": portable(asdict(options)),
        "target_text": target_text,
        "seed": candidate.seed,
        "strength": float(candidate.strength),
        "plain": plain,
        **masked,
    }
    return fitted.model_copy(update=made)


def attach(state: State, record: Record) -> State:
    """The state with its record among its facts, and a model name without folders."""
    facts = {**state.facts, "model": record.model, KEY: json.loads(record.to_json())}
    return replace(state, facts=facts)


def of_state(state: State) -> Record:
    """The record in a state. Raises StateError where there is none, or a damaged one."""
    if KEY not in state.facts:
        raise StateError("The state does not say what image it was made from; fit again with imagic.fit.")
    try:
        return Record.from_json(json.dumps(state.facts[KEY]))
    except ImageError as error:
        raise StateError("The state's record is damaged or of a newer version; fit again.") from error


def differences(then: Record, now: Record) -> tuple[str, ...]:
    """Sentences on what may change the pixels: other versions, another kind of device or precision."""
    before, after = _circumstances(then), _circumstances(now)
    changed = [
        f"{name} {before.get(name, '?')} is now {value}" for name, value in after.items() if before.get(name) != value
    ]
    return (f"The pixels may differ: {'; '.join(changed)}.",) if changed else ()


def _circumstances(record: Record) -> Mapping[str, str]:
    return {"imagic": record.package_version, **record.versions, "device": record.device, "dtype": record.dtype}
