"""The judge: a small network that reads a scene's facts back from a picture, and tells individuals apart.

A residual network on the pixels, with one classifier per fact and an embedding in which one individual in two postures
is near. It scores generations and edits; no editing method ever sees it.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from imagic.core.errors import ModelError
from imagic.core.files import replacing
from imagic.menagerie.facts import FACTS

EMBEDDING = 64
STEM = 32  # channels at half the picture's side
WIDTHS = ((64, 1), (128, 2), (192, 2))  # channels and blocks at a quarter, an eighth and a sixteenth of it
SIDE = 128
CHUNK = 64
FILE = "judge.safetensors"
SCALE = ".scale"


def halving(before: int, after: int) -> nn.Sequential:
    """A 3 x 3 convolution to half the side."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(_groups(after), after), nn.SiLU()
    )


def _groups(width: int) -> int:
    return max(1, width // 32)  # wide groups are fast on CPUs in the channels-last layout


class Block(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(_groups(width), width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.GroupNorm(_groups(width), width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.first(x)))
        return F.silu(x + self.out(self.second(y)))


class Reader(nn.Module):
    """From pictures (B, 3, 128, 128) in [-1, 1] to logits per fact and an embedding (B, 64) of unit length."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [halving(3, STEM)]
        width = STEM
        for wider, blocks in WIDTHS:
            layers += [halving(width, wider), *(Block(wider) for _ in range(blocks))]
            width = wider
        features = 256
        self.body = nn.Sequential(
            *layers, halving(width, width), nn.Flatten(), nn.Linear(width * (SIDE // 32) ** 2, features),
            nn.LayerNorm(features), nn.SiLU(),
        )  # fmt: skip
        self.facts = nn.ModuleDict({name: nn.Linear(features, len(values)) for name, values in FACTS.items()})
        self.identity = nn.Linear(features, EMBEDDING)

    def forward(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        features = self.body(images.contiguous(memory_format=torch.channels_last)).float()
        logits = {name: head(features) for name, head in self.facts.items()}
        return logits, F.normalize(self.identity(features), dim=1)


class Judge:
    """A frozen reader.

    threshold: the cosine of two embeddings above which two pictures show the same individual.
    """

    def __init__(self, reader: Reader, threshold: float) -> None:
        self.reader, self.threshold = reader.eval(), threshold

    @torch.no_grad()
    def _look(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        check_side(images.shape[-1])
        device = next(self.reader.parameters()).device
        seen = [self.reader(images[i : i + CHUNK].to(device, torch.float32)) for i in range(0, len(images), CHUNK)]
        logits = {name: torch.cat([facts[name] for facts, _ in seen]) for name in FACTS}
        return logits, torch.cat([embedding for _, embedding in seen])

    def read(self, images: Tensor) -> list[dict[str, str]]:
        """The facts of each picture: images (B, 3, 128, 128) in [-1, 1]. Raises ModelError for other sizes."""
        logits, _ = self._look(images)
        chosen = {name: values.argmax(1).tolist() for name, values in logits.items()}
        return [{name: FACTS[name][chosen[name][row]] for name in FACTS} for row in range(len(images))]

    def embed(self, images: Tensor) -> Tensor:
        """The identity of each picture: (B, 64), of unit length."""
        return self._look(images)[1]

    def likeness(self, a: Tensor, b: Tensor) -> Tensor:
        """How alike the individuals of the pictures a[i] and b[i] are: (B,) cosines."""
        return (self.embed(a) * self.embed(b)).sum(1)

    def save(self, path: Path) -> None:
        """One safetensors file, matrices in int8 with a scale per row; replaces a file of that name."""
        tensors: dict[str, Tensor] = {}
        for key, value in self.reader.state_dict().items():
            tensors |= _packed(key, value)
        facts = {"threshold": repr(self.threshold), "facts": json.dumps(FACTS)}
        with replacing(path, overwrite=True) as part:
            save_file({key: value.contiguous().cpu() for key, value in tensors.items()}, part, metadata=facts)


def check_side(side: int) -> None:
    """Raises ModelError for a model whose pictures have another side than the judge's."""
    if side != SIDE:
        raise ModelError(
            f"The judge reads pictures of {SIDE} pixels, not {side}; name one that makes them, or a whole cascade."
        )


def load_judge(path: Path | None = None) -> Judge:
    """The judge that ships, or one of a file, on the CPU in float32.

    Raises ModelError when there is none, when the file is damaged, or when its judge knows other facts than this world
    or is another network.
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
    reader = Reader()
    try:
        reader.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path.name} holds another network than this version's judge; train it again.") from error
    return Judge(reader.requires_grad_(False), float(header["threshold"]))


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
