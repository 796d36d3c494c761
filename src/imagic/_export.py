"""What a fit learned, as files that other programs read: the change of the network, and the texts' embeddings."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from imagic import _records
from imagic._models import Model, loaded
from imagic._results import Fit
from imagic.core.conditioning import Conditioning
from imagic.core.difference_first import difference_first
from imagic.core.errors import OptionError, OutputError, StateError
from imagic.core.files import check_writable, replacing
from imagic.core.state import check_state, load_state, unpack_change, unpack_conditioning
from imagic.core.types import Backbone, State, WeightChange
from imagic.core.words_first import before_padding, words_first

FORMS = ("diffusers", "kohya")


def export(
    fit: Fit | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    eta: float | None = None,
    text: str = "",
    form: str = "diffusers",
    full: bool = False,
    model: Model | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    loading: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write what a fit learned for diffusers and other programs. Returns the paths.

    fit: a Fit, or the file of a saved one. folder: made where it is not there. The files: `lora.safetensors`, or
    `difference.safetensors` of a full tuning; `e_tgt.safetensors` and `e_opt.safetensors`, whose tensors are arguments
    of the family's pipeline, by name; with `eta` also `e_eta.safetensors`, the mixture of the two; `start.safetensors`,
    the input's own noise, where the fit has it. A cascade's first upper stage has its own, `upper-lora.safetensors` and
    so on.
    text: another target, for a fit with a source text. form: of the names, "diffusers" or, for Stable Diffusion and
    SDXL, "kohya", as ComfyUI and others read them. full: the whole changed network as a folder of its pipeline, instead
    of the change.
    model, device, dtype, loading: for a file, as for `Fit.load`.
    Raises StateError, ModelError, OptionError for what the fit does not hold, AbilityError for what the family cannot,
    and OutputError, also for a file that exists unless `overwrite` is true.
    """
    if form not in FORMS:
        raise OptionError(f"The form must be one of {', '.join(FORMS)}, not '{form}'.")
    if eta is not None and not math.isfinite(eta):
        raise OptionError(f"Eta must be a finite number, not {eta}.")
    if full and form != FORMS[0]:
        raise OptionError("A whole network is written as diffusers has it: leave the form out.")
    if isinstance(fit, Fit):
        state, backbone = fit.state, fit.backbone
    else:
        state = load_state(Path(fit))
        record = _records.of_state(state)
        backbone = loaded(record.model if model is None else model, device, dtype, loading)
        check_state(state, state.method, backbone)
    tuned, texts = _tuned(backbone, state), _texts(backbone, state, text, eta)
    if not tuned and not texts:
        raise OptionError(f"A fit of '{state.method}' learns nothing that other programs could use.")
    if full and not tuned:
        raise OptionError("This fit left the network as it is: there is no other network to write.")
    files = {f"{name}.safetensors": backbone.pipeline_inputs(each) for name, each in texts.items()}
    if texts and "start" in state.tensors:
        files["start.safetensors"] = {"latents": state.tensors["start"]}
    if not full:
        for prefix, (stage, change) in tuned.items():
            kind = "lora" if change.kind == "lora" else "difference"
            files[f"{prefix}{kind}.safetensors"] = stage.exported(change, form)
    place = _made(folder)
    paths = [check_writable(place / name, overwrite) for name in files]
    if full:
        for prefix, (stage, change) in tuned.items():
            paths += _write_network(stage, change, _made(place / prefix.strip("-")), overwrite)
    for name, tensors in files.items():
        _write(place / name, tensors, overwrite)
    return paths


def _tuned(backbone: Backbone, state: State) -> dict[str, tuple[Backbone, WeightChange]]:
    """What was tuned and its change, by what the files' names begin with: the base, a cascade's first upper stage."""
    found: dict[str, tuple[Backbone, WeightChange]] = {}
    for prefix, name, stages in (("", "change", [backbone]), ("upper-", "upper", backbone.upper_stages())):
        try:
            if described := state.facts.get(name):
                found[prefix] = stages[0], unpack_change(state, name, described["kind"], described["facts"])
        except (KeyError, TypeError, IndexError) as error:
            raise StateError(f"The state is damaged ({error} is missing or wrong): fit again.") from error
    return found


def _texts(backbone: Backbone, state: State, text: str, eta: float | None) -> dict[str, Conditioning]:
    """The bundles by the names of their files; none where the method fits none."""
    learnable = state.facts.get("learnable")
    if learnable is None:
        if text or eta is not None:
            raise OptionError(f"A fit of '{state.method}' has no embeddings: leave eta and the text out.")
        return {}
    target, fitted = (unpack_conditioning(state, name, learnable) for name in ("e_tgt", "e_opt"))
    if text and text != state.facts["target_text"]:
        if not state.facts["source_text"]:
            raise OptionError("This fit is bound to its target text: fit with a source text to export others.")
        target = backbone.encode_text([text]).to("cpu")
    texts = {"e_tgt": target, "e_opt": fitted}
    if eta is None:
        return texts
    both = (state.facts["source_text"] or state.facts["target_text"], text or state.facts["target_text"])
    words = before_padding(backbone, both) if "start" in state.tensors else None
    if not state.facts["source_text"]:
        return {**texts, "e_eta": words_first(fitted, target, [eta], words)}
    source = unpack_conditioning(state, "e_src", learnable)
    return {**texts, "e_eta": difference_first(fitted, source, target, [eta], words)}


def _made(folder: str | os.PathLike[str]) -> Path:
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {place} cannot be made ({error.strerror}); choose another output.") from error
    return place


def _write_network(backbone: Backbone, change: WeightChange, place: Path, overwrite: bool) -> list[Path]:
    """The changed network, written beside its place and then renamed file by file."""
    with TemporaryDirectory(dir=place, prefix=".part-") as part, backbone.changed(change):
        backbone.save_network(Path(part))
        made = sorted(path for path in Path(part).rglob("*") if path.is_file())
        targets = [place / path.relative_to(part) for path in made]
        for target in targets:
            target.parent.mkdir(exist_ok=True)
            check_writable(target, overwrite)
        for path, target in zip(made, targets, strict=True):
            os.replace(path, target)
    return targets


def _write(path: Path, tensors: Mapping[str, Tensor], overwrite: bool) -> None:
    with replacing(path, overwrite) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata={"format": "pt"})
