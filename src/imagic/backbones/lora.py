"""A LoRA file added to a model's weights, in any format that diffusers reads (its own, kohya's, peft's)."""

from __future__ import annotations

import inspect
from typing import Any

from imagic.backbones.plan import Lora

ADAPTER = "added"


def add(lora: Lora, pipeline_class: type, parts: dict[str, Any], *, allow_pickle: bool) -> None:
    """Change the weights of the parts by `lora.weight` times what the file says.

    pipeline_class: knows which parts a LoRA of the family may change. Raises ValueError for a file that is missing, not
    for this model, or pickled.
    """
    if not lora.path.is_file():
        raise ValueError(f"there is no LoRA file '{lora.path}'.")
    safe = lora.path.suffix == ".safetensors"
    if not safe and not allow_pickle:
        raise ValueError(
            f"the LoRA '{lora.path.name}' is no .safetensors file, and a pickle can run code when it is read"
        )
    needed = [name for name, each in inspect.signature(pipeline_class).parameters.items() if each.default is each.empty]
    # Without the scheduler, whose settings a pipeline may change.
    pipeline = pipeline_class(**{name: None if name == "scheduler" else parts.get(name) for name in needed})
    try:
        pipeline.load_lora_weights(
            str(lora.path.parent),
            weight_name=lora.path.name,
            adapter_name=ADAPTER,
            use_safetensors=safe,
            local_files_only=True,
        )
    except (ValueError, KeyError, RuntimeError, TypeError, IndexError) as error:
        raise ValueError(f"the LoRA '{lora.path.name}' is damaged, or of another kind of model.") from error
    changed = list(pipeline.get_list_adapters())
    if not changed:
        raise ValueError(f"the LoRA '{lora.path.name}' names no layer of this kind of model.")
    pipeline.fuse_lora(components=changed, lora_scale=lora.weight)
    pipeline.unload_lora_weights()
