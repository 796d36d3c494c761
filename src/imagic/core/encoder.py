"""What sees pictures and texts in one space, as CLIP does, for methods whose loss or measure it is.

Encoders enter through the entry points `imagic.encoders`; methods open one by name and see only this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from imagic.core import registry
from imagic.core.registry import Group

BUNDLED = "menagerie"
BUNDLED_FOLDER = Path(str(files("imagic"))) / "menagerie" / "weights" / "clip"


class Encoder(Protocol):
    """One loaded encoder; images are (B, 3, H, W) in [-1, 1], of any size, and gradients flow to them."""

    name: str

    def embed_images(self, images: Tensor) -> Tensor:
        """(B, D), float32, of unit length."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(B, D), float32, of unit length. No gradient. What is beyond the encoder's length is cut off."""

    def tokens(self, images: Tensor) -> Tensor:
        """What the last layer says of each patch: (B, P, C), float32."""

    def relevance(self, image: Tensor, text: str) -> Tensor:
        """Where one image (1, 3, H, W) shows what the text says: (1, 1, H, W) in [0, 1]. No gradient."""


class EncoderLoader(Protocol):
    """What an entry point of the group imagic.encoders is."""

    def __call__(self, name_or_path: str, device: torch.device) -> Encoder:
        """Raises NotAvailable for an encoder that is not there or cannot be loaded."""


def encoder_folder(name_or_path: str) -> Path:
    """Where an encoder's files are, if it is there."""
    return BUNDLED_FOLDER if name_or_path == BUNDLED else Path(name_or_path).expanduser()


def open_encoder(name_or_path: str, device: torch.device) -> Encoder:
    """The bundled encoder by the name "menagerie", or a folder of transformers' CLIPModel. Raises NotAvailable."""
    loader: EncoderLoader = registry.find(Group.ENCODERS, "clip")
    return loader(name_or_path, device)
