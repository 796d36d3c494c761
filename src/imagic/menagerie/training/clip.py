"""The menagerie's CLIP (Radford et al. 2021): pictures and captions as vectors of unit length in one space.

A caption may fit many pictures of a batch ("a dog"), and which it fits is known, so all that fit share the target (Yang
et al. 2022, "Unified contrastive learning"). Scenes come with what an edit makes of them: the hardest of the others,
and the ones that have to be told apart when edits are scored. The image tower is also asked for the facts, by a linear
reader that is left behind; contrast alone learns several times more slowly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from imagic.core.seeds import derive
from imagic.menagerie.captions import caption_with_facts
from imagic.menagerie.render import IMAGE_SIZE
from imagic.menagerie.tokenizer import TEXT_LENGTH, build_tokenizer
from imagic.menagerie.training.augment import as_shown, augment
from imagic.menagerie.training.helpers import save_helpers
from imagic.menagerie.training.labels import READER, FactReader, labels, reading_loss
from imagic.menagerie.training.pairs import PAIR
from imagic.menagerie.training.shards import ShardStore
from imagic.menagerie.training.world import draw, scenes_of, tile

VISION: dict[str, int] = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "patch_size": 16,
}
TEXT: dict[str, int] = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
}
PROJECTION = 128
READING_WEIGHT = 1.0  # of the reading beside the contrast
MOST_SCALE = 100.0  # of the cosines, as in the paper
HALF = (0.5, 0.5, 0.5)  # mean and deviation: pictures of [0, 1] come to [-1, 1]


def build_clip(tokenizer: Any) -> CLIPModel:
    """An untrained small CLIP for pictures of 128 x 128 and a tokenizer's vocabulary."""
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TEXT_LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": PROJECTION,
    }
    vision = {**VISION, "image_size": IMAGE_SIZE, "projection_dim": PROJECTION}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION))


class ClipTask:
    """Pictures and captions of training pairs."""

    name = "clip"

    def __init__(self, store: ShardStore, device: torch.device | str = "cpu", seed: int = 0) -> None:
        self.store, self.device, self.seed = store, device, seed
        self.tokenizer = build_tokenizer()
        self.clip = build_clip(self.tokenizer)
        self.reader = FactReader(self.clip.config.vision_config.hidden_size)

    def networks(self) -> dict[str, nn.Module]:
        return {"clip": self.clip, READER: self.reader}

    def loss(self, step: int, batch: int, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        scenes, pictures = self.store.batch(step, batch)
        images, mirrored = augment(pictures.to(self.device).float() / 127.5 - 1, PAIR, noise)
        scenes = as_shown(scenes, mirrored)
        rng = np.random.default_rng(derive(self.seed, f"captions/{step}"))
        texts, named = zip(*(caption_with_facts(scene, rng) for scene in scenes), strict=True)
        wanted = labels(scenes, self.device)
        pooled = self.clip.vision_model(pixel_values=images).pooler_output
        sight, words = self.clip.visual_projection(pooled), self._read(texts)
        cosines = F.normalize(words.float(), dim=1) @ F.normalize(sight.float(), dim=1).T
        fits = fitting(named, wanted)
        contrast = contrastive_loss(self.clip.logit_scale.exp().clamp(max=MOST_SCALE) * cosines, fits)
        reading = reading_loss(self.reader(pooled), wanted)
        found = fits[torch.arange(len(fits), device=fits.device), cosines.argmax(1)]
        return contrast + READING_WEIGHT * reading, {
            "contrast": contrast.item(), "reading": reading.item(), "found": found.float().mean().item(),
            "pairs": pairs_right(cosines.detach(), fits).item(),
        }  # fmt: skip

    def _read(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        seen = self.clip.text_model(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        return cast(Tensor, self.clip.text_projection(seen))

    def sheet(self, networks: Mapping[str, nn.Module]) -> Image.Image:
        """Held-out scenes; CLIP has nothing to draw."""
        return tile(draw(scenes_of(0, 32, held_out=True), self.device), columns=8)

    def export(self, networks: Mapping[str, nn.Module], folder: Path) -> None:
        """An ordinary CLIPModel folder in half precision, with its tokenizer and how pictures are prepared."""
        cast(CLIPModel, networks["clip"]).to(torch.float16).save_pretrained(folder)
        build_tokenizer().save_pretrained(folder)  # the one in use would be saved with the padding of its last call
        (folder / "preprocessor_config.json").write_text(json.dumps(preparation(), indent=2) + "\n", encoding="utf-8")
        save_helpers(networks, folder)


def preparation() -> dict[str, Any]:
    """How transformers' image processor prepares a picture for this CLIP."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True, "size": {"shortest_edge": IMAGE_SIZE}, "resample": 3,
        "do_center_crop": True, "crop_size": side,
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": HALF, "image_std": HALF,
        "do_convert_rgb": True,
    }  # fmt: skip


def fitting(named: Sequence[Mapping[str, str]], wanted: Mapping[str, Tensor]) -> Tensor:
    """Whether caption i fits picture j: (B, B) bool. named: the facts that each caption names. wanted: the index of
    each fact's value in each picture, name -> (B,)."""
    device = next(iter(wanted.values())).device
    fits = torch.ones(len(named), len(named), dtype=torch.bool, device=device)
    for name, values in wanted.items():
        silent = torch.tensor([name not in facts for facts in named], device=device)
        fits &= silent[:, None] | (values[:, None] == values[None])
    return fits


def contrastive_loss(logits: Tensor, fits: Tensor) -> Tensor:
    """Cross-entropy of each caption over the pictures and of each picture over the captions, the mean of both; those
    that fit share the target evenly. logits, fits: (captions, pictures); each row and column has one that fits."""
    shares = fits.float()
    over_pictures = F.cross_entropy(logits, shares / shares.sum(1, keepdim=True))
    over_captions = F.cross_entropy(logits.T, (shares / shares.sum(0)).T)
    return (over_pictures + over_captions) / 2


def pairs_right(cosines: Tensor, fits: Tensor) -> Tensor:
    """Of the captions that fit one scene of their pair and not the other, the share that is nearer to the right one.

    cosines, fits: (captions, pictures), pairs side by side. 1 where no caption tells the scenes apart.
    """
    here = torch.arange(len(cosines), device=cosines.device)
    other = here ^ 1
    telling = ~fits[here, other]
    nearer = cosines[here, here] > cosines[here, other]
    return nearer[telling].float().mean() if telling.any() else torch.ones(())
