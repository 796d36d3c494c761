"""The one door to the networks of metrics: models of transformers, from folders that the user gives.

Only safetensors and JSON are read, no code of a checkpoint runs, and nothing is downloaded. transformers is imported
when the first network is asked for, so that metrics without one cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from imagic.core.errors import NotAvailable
from imagic.core.images import to_rgb

# Heads that checkpoints often lack and no metric uses; every other tensor must be in the file.
UNUSED = "pooler."


def load_model(folder: Path, device: torch.device) -> Any:
    """The model in a folder as its config names it: frozen, float32, in eval mode.

    Raises NotAvailable for a folder that cannot be loaded or whose file lacks tensors.
    """
    from transformers import AutoModel

    with _loading(folder):
        model, report = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
        # The library fills what is missing with random numbers and goes on.
        if missing := sorted(key for key in report["missing_keys"] if not key.startswith(UNUSED)):
            raise ValueError(f"its file lacks {len(missing)} tensors, {missing[0]} among them")
    return model.to(device).requires_grad_(False).eval()


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer in a folder. Raises NotAvailable when there is none."""
    from transformers import CLIPTokenizer

    with _loading(folder):
        # Without these files the library makes a tokenizer that knows no words.
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise ValueError("it has neither tokenizer.json nor vocab.json")
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def load_processor(folder: Path) -> Any:
    """How the folder's model wants its pictures: sizes, resampling and normalisation of preprocessor_config.json.

    Raises NotAvailable when there is none.
    """
    from transformers import AutoImageProcessor

    with _loading(folder):
        # Pillow's resampling is what published figures were made with, and needs no torchvision.
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")


def pixel_values(processor: Any, images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1], rounded to 8 bits as in a file, as a processor prepares them for its model."""
    pictures = [Image.fromarray(to_rgb(image)) for image in images]
    prepared: Tensor = processor(images=pictures, return_tensors="pt")["pixel_values"]
    return prepared.to(images.device)


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """Within: transformers is silent, and its errors about a folder become NotAvailable."""
    from transformers.utils import logging

    if not folder.is_dir():
        raise NotAvailable(f"'{folder}' is not a folder: give a model's folder as transformers saves it.")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotAvailable(
            f"'{folder}' could not be loaded; give a model's folder with safetensors as transformers saves it: {reason}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
