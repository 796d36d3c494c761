"""CLIP (Radford et al., ICML 2021) as a loss: core.encoder.Encoder over a CLIPModel folder of transformers.

The metrics prepare pictures from 8 bits with Pillow, as published figures do; here gradients have to flow, so pictures
are resized as tensors, and a picture that is not square is squeezed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from transformers import AutoImageProcessor, CLIPModel, CLIPTokenizer

from imagic.backbones.quiet import quiet
from imagic.core.encoder import BUNDLED, encoder_folder
from imagic.core.errors import NotAvailable


def load(name_or_path: str, device: torch.device) -> CLIPEncoder:
    """The entry point `clip`: the bundled CLIP, or that of a folder, which holds a CLIPModel in safetensors, its
    tokenizer and its image processor. Nothing is downloaded. Raises NotAvailable."""
    return _read(encoder_folder(name_or_path), name_or_path, device)


@functools.lru_cache(maxsize=2)
def _read(folder: Path, name: str, device: torch.device) -> CLIPEncoder:
    if not folder.is_dir():
        raise NotAvailable(
            "This installation has no bundled CLIP: give a folder of transformers' CLIPModel instead (encoder)."
            if name == BUNDLED
            else f"There is no folder '{name}': give 'menagerie', or a folder of transformers' CLIPModel (encoder)."
        )
    try:
        with quiet():
            model, report = CLIPModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",  # the fast ones hide the attention that relevance needs
                output_loading_info=True,
            )
            if missing := sorted(report["missing_keys"]):
                raise ValueError(f"its file lacks {len(missing)} tensors, {missing[0]} among them")
            if not any((folder / each).is_file() for each in ("tokenizer.json", "vocab.json")):
                raise ValueError("it has neither tokenizer.json nor vocab.json")
            tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotAvailable(f"'{name}' could not be loaded as a CLIPModel of transformers: {reason}") from error
    model = model.to(device).eval().requires_grad_(False)
    return CLIPEncoder(name, model, tokenizer, tuple(processor.image_mean), tuple(processor.image_std))


@dataclass(frozen=True)
class CLIPEncoder:
    """model: frozen, float32, with eager attention. mean, std: per channel, of pictures in [0, 1]."""

    name: str
    model: Any
    tokenizer: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def embed_images(self, images: Tensor) -> Tensor:
        pooled = self.model.vision_model(pixel_values=self._pixels(images)).pooler_output
        return normalize(self.model.visual_projection(pooled), dim=1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        length = min(self.tokenizer.model_max_length, self.model.config.text_config.max_position_embeddings)
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        pooled = self.model.text_model(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return normalize(self.model.text_projection(pooled), dim=1)

    def tokens(self, images: Tensor) -> Tensor:
        last: Tensor = self.model.vision_model(pixel_values=self._pixels(images)).last_hidden_state
        return last[:, 1:]

    def relevance(self, image: Tensor, text: str) -> Tensor:
        """The positive part of gradient times attention in the last layer, from the class token to the patches, mean
        over heads (Chefer et al., ICCV 2021, for one layer), between its lowest and highest value."""
        wanted = self.embed_texts([text])
        with torch.enable_grad():
            # No weight asks for a gradient; this makes the graph.
            pixels = self._pixels(image.detach()).requires_grad_(True)
            seen = self.model.vision_model(pixel_values=pixels, output_attentions=True)
            cosine = (normalize(self.model.visual_projection(seen.pooler_output), dim=1) * wanted).sum()
            attention = seen.attentions[-1]
            (gradient,) = torch.autograd.grad(cosine, [attention])
        looks = (gradient * attention.detach()).clamp(min=0).mean(1)[0, 0, 1:]
        side = self.model.config.vision_config.image_size // self.model.config.vision_config.patch_size
        spread = (looks.max() - looks.min()).clamp(min=torch.finfo(looks.dtype).tiny)
        scaled = ((looks - looks.min()) / spread).reshape(1, 1, side, side)
        return interpolate(scaled, image.shape[-2:], mode="bilinear", align_corners=False)

    def _pixels(self, images: Tensor) -> Tensor:
        """Images as the model takes them, (B, 3, side, side)."""
        images = images.to(self.model.device, torch.float32)
        side = self.model.config.vision_config.image_size
        if images.shape[-2:] != (side, side):
            images = interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False)
        mean, std = (images.new_tensor(each).reshape(-1, 1, 1) for each in (self.mean, self.std))
        return ((images + 1) / 2 - mean) / std
