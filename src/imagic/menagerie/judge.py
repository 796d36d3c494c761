"""The judge: a small network that reads a scene's facts back from a picture, and tells individuals apart.

A convolutional encoder (a frozen copy of the autoencoder's, so the judge stands alone) and a small residual network
with one classifier per fact and an embedding in which one individual in two postures is near. It scores generations
and edits; no editing method ever sees it.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from imagic.core.errors import ModelError
from imagic.core.files import replacing
from imagic.menagerie.facts import FACTS

EMBEDDING = 64
WIDTHS = (96, 128)
CHUNK = 64
FILE = "judge.safetensors"
SCALE = ".scale"
DECODING = ("encoder.decoder.", "encoder.post_quant_conv.")  # an autoencoder's other half, which the judge lacks


class Block(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.GroupNorm(4, width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.first(x)))
        return F.silu(x + self.out(self.second(y)))


class Reader(nn.Module):
    """From latents (B, C, 16, 16) to logits per fact and an embedding (B, 64) of unit length."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        fine, coarse = WIDTHS
        self.body = nn.Sequential(
            nn.Conv2d(channels, fine, 3, padding=1), nn.GroupNorm(4, fine), nn.SiLU(), Block(fine), Block(fine),
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1), nn.GroupNorm(4, coarse), nn.SiLU(),
            Block(coarse), Block(coarse),
            nn.Conv2d(coarse, coarse, 3, stride=2, padding=1), nn.GroupNorm(4, coarse), nn.SiLU(),
            nn.Flatten(), nn.Linear(coarse * (side // 4) ** 2, 2 * coarse), nn.LayerNorm(2 * coarse), nn.SiLU(),
        )  # fmt: skip
        self.facts = nn.ModuleDict({name: nn.Linear(2 * coarse, len(values)) for name, values in FACTS.items()})
        self.identity = nn.Linear(2 * coarse, EMBEDDING)

    def forward(self, latents: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        features = self.body(latents).float()
        logits = {name: head(features) for name, head in self.facts.items()}
        return logits, F.normalize(self.identity(features), dim=1)


class Judge:
    """An encoder and a reader of its latents, frozen.

    threshold: the cosine of two embeddings above which two pictures show the same individual.
    """

    def __init__(self, encoder: AutoencoderKL, reader: Reader, threshold: float) -> None:
        self.encoder, self.reader, self.threshold = encoder.eval(), reader.eval(), threshold

    @torch.no_grad()
    def _look(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        seen = []
        for first in range(0, len(images), CHUNK):
            pixels = images[first : first + CHUNK].to(self.encoder.device, self.encoder.dtype)
            latents = self.encoder.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist.mean
            seen.append(self.reader(latents.float() * self.encoder.config["scaling_factor"]))
        logits = {name: torch.cat([facts[name] for facts, _ in seen]) for name in FACTS}
        return logits, torch.cat([embedding for _, embedding in seen])

    def read(self, images: Tensor) -> list[dict[str, str]]:
        """The facts of each picture: images (B, 3, 128, 128) in [-1, 1]."""
        logits, _ = self._look(images)
        chosen = {name: values.argmax(1).tolist() for name, values in logits.items()}
        return [{name: FACTS[name][chosen[name][row]] for name in FACTS} for row in range(len(images))]

    def embed(self, images: Tensor) -> Tensor:
        """The identity of each picture: (B, 64), of unit length."""
        return self._look(images)[1]

    def same_individual(self, a: Tensor, b: Tensor) -> Tensor:
        """Whether the pictures a[i] and b[i] show the same individual: (B,) bool."""
        return (self.embed(a) * self.embed(b)).sum(1) > self.threshold

    def save(self, path: Path) -> None:
        """One safetensors file with the encoder's config in its header; replaces a file of that name.

        The encoder in float16, the reader's matrices in int8 with a scale per row.
        """
        encoder = {f"encoder.{key}": value for key, value in self.encoder.state_dict().items()}
        tensors = {key: value.half() for key, value in encoder.items() if not key.startswith(DECODING)}
        for key, value in self.reader.state_dict().items():
            tensors |= _packed(f"reader.{key}", value)
        facts = {
            "config": json.dumps({key: value for key, value in self.encoder.config.items() if key[0] != "_"}),
            "threshold": repr(self.threshold),
            "facts": json.dumps(FACTS),
        }
        with replacing(path, overwrite=True) as part:
            save_file({key: value.contiguous().cpu() for key, value in tensors.items()}, part, metadata=facts)


def build_reader(vae: AutoencoderKL) -> Reader:
    """An untrained reader for the latents of `vae`."""
    side = vae.config["sample_size"] // 2 ** (len(vae.config["block_out_channels"]) - 1)
    return Reader(vae.config["latent_channels"], side)


def load_judge(path: Path | None = None) -> Judge:
    """The judge that ships, or one of a file, on the CPU in float32.

    Raises ModelError when there is none, when the file is damaged, or when its judge knows other facts than this world.
    """
    path = path or Path(str(resources.files("imagic.menagerie") / "weights" / "judge" / FILE))
    if not path.is_file():
        raise ModelError(f"There is no judge at {path.name}; train one with 'imagic menagerie train judge'.")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = _unpacked({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path.name} is damaged ({error}); train or copy the judge again.") from error
    if json.loads(header.get("facts", "{}")) != json.loads(json.dumps(FACTS)):
        raise ModelError("The judge was trained on other facts than this world has; train it again.")
    encoder = cast(AutoencoderKL, AutoencoderKL.from_config(json.loads(header["config"])))
    del encoder.decoder, encoder.post_quant_conv
    encoder.load_state_dict(_part(tensors, "encoder."))
    reader = build_reader(encoder)
    reader.load_state_dict(_part(tensors, "reader."))
    return Judge(encoder.requires_grad_(False), reader.requires_grad_(False), float(header["threshold"]))


def _packed(name: str, value: Tensor) -> dict[str, Tensor]:
    """A matrix as int8 and a scale per row, anything else as float16."""
    if value.dim() < 2:
        return {name: value.half()}
    scale = value.float().flatten(1).abs().amax(1).clamp(min=1e-12) / 127
    rows = scale.view(-1, *[1] * (value.dim() - 1))
    return {name: (value / rows).round().to(torch.int8), f"{name}{SCALE}": scale}


def _unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything in float32."""
    whole = {}
    for name, value in tensors.items():
        if value.dtype == torch.int8:
            whole[name] = value * tensors[f"{name}{SCALE}"].view(-1, *[1] * (value.dim() - 1))
        elif not name.endswith(SCALE):
            whole[name] = value.float()
    return whole


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
