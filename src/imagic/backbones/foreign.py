"""Where files that anybody made meet the code of other libraries, which raises almost anything on damaged ones.

What goes wrong there is put down to the files. Anywhere else it is a bug, and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from imagic.core.conditioning import Conditioning
from imagic.core.errors import ImagicError, ModelError
from imagic.core.images import MAX_PIXELS
from imagic.core.memory import ran_out
from imagic.core.types import Backbone

# Parameters that may be made for each tensor of the files: it is made, then filled, and one may be split into three.
PARAMETERS_PER_TENSOR = 8


@contextmanager
def told(what: str) -> Iterator[None]:
    """Within: any error becomes a ModelError, `what` and the first line of the reason. One that says already what to
    do, and memory that runs out, stay as they are."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ImagicError) or ran_out(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{what}: {reason}") from error


@contextmanager
def no_larger_than(files: Sequence[Path]) -> Iterator[None]:
    """Within: a model that wants many more tensors than these files hold is not built to its end, which might take for
    ever. Raises ValueError. Pickles are not counted: who allows them trusts their maker."""
    if any(file.suffix != ".safetensors" for file in files):
        yield
        return
    held = sum(_tensors(file) for file in files)
    made = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made
        made += parameter is not None
        if made > PARAMETERS_PER_TENSOR * held:
            raise ValueError(f"its settings ask for a model far larger than its files, which hold {held} tensors.")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _tensors(file: Path) -> int:
    with safe_open(str(file), framework="pt") as tensors:
        return len(tensors.keys())


@torch.no_grad()
def try_once(backbone: Backbone) -> None:
    """Let a model do once all that it is for, on the smallest picture and an empty text: many of its settings are not
    used before. Raises ModelError when it cannot."""
    with told(f"The model '{backbone.name}' cannot be used, get it anew"):
        if backbone.image_size**2 > MAX_PIXELS:
            raise ValueError(f"its pictures would have {backbone.image_size} pixels a side.")
        side = backbone.size_multiple
        image = torch.zeros(1, 3, side, 2 * side)  # not square: norms need more than one number
        text = backbone.encode_text([""])
        z = backbone.encode(image)
        _predict(backbone, z, text)
        if (decoded := backbone.decode(z)).shape != image.shape:
            raise ValueError(f"it makes pictures of {tuple(decoded.shape)} out of those of {tuple(image.shape)}.")
        backbone.schedule(min(2, len(backbone.levels)))
        for stage in backbone.upper_stages():
            above = stage.encode(image)
            _predict(stage, above, stage.beside(text, z, above))
            z = above


def _predict(backbone: Backbone, z: Tensor, text: Conditioning) -> None:
    """Raises ValueError for what is no prediction, or would never become a picture."""
    levels = backbone.levels
    predicted = backbone.predict(z, levels.timestep[-1:], text)
    if predicted.shape != z.shape:
        raise ValueError(f"its network makes {tuple(predicted.shape)} out of {tuple(z.shape)}.")
    if not all(each.isfinite().all() for each in (predicted, levels.alpha, levels.sigma)):
        raise ValueError("its predictions or noise levels are not finite.")
