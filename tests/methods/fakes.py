"""A backbone that knows its answers: pictures are latents, and a text says directly which clean latent it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from imagic.core.conditioning import Conditioning
from imagic.core.noise import NoiseLevels, Prediction
from imagic.core.types import Ability, Backbone, State, TextReport, Tuning, TuningPlan, WeightChange
from tests.core.fakes import vp_levels

# Text -> its embedding, one number per channel: what the text is about, what it drags along, and what it leaves alone.
TEXTS = {"": (0.0, 1.0, -0.5), "sits": (1.0, 1.0, -0.5)}
INPUT = (0.0, 0.0, -0.5)


def wanted(embedding: Tensor) -> Tensor:
    """The clean latent (B, 3, 2, 2): the first channel comes early along eta, the second late."""
    asked, dragged, rest = embedding.unbind(-1)
    return torch.stack([1 - (1 - asked) ** 2, dragged**2, rest], -1)[..., None, None].expand(-1, 3, 2, 2)


class Answers(Backbone):
    """Predicts x0 = wanted(text), whatever the noise; a change adds its number. calls: (rows, scale in force)."""

    def __init__(self) -> None:
        self.name, self.fingerprint, self.abilities = "answers", "f" * 64, frozenset(Ability)
        self.prediction, self.levels = Prediction.X0, vp_levels()
        self.image_size, self.size_multiple = 2, 1
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.scale, self.offset = 0.0, 0.0
        self.calls: list[tuple[int, float]] = []

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, z: Tensor) -> Tensor:
        return z.clamp(-1, 1)

    def encode_text(self, texts: Sequence[str]) -> Conditioning:
        return conditioning(*(TEXTS[text] for text in texts))

    def report_text(self, text: str) -> TextReport:
        return TextReport()

    def predict(self, z: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        self.calls.append((len(z), self.scale))
        return wanted(conditioning.tensors["sequence"]) + self.scale * self.offset

    def schedule(self, num_steps: int) -> NoiseLevels:
        levels, clean = (
            self.levels[torch.linspace(999, 0, num_steps + 1).long()[:-1]],
            torch.ones(1, dtype=torch.float64),
        )
        return NoiseLevels(
            torch.cat([levels.alpha, clean]), torch.cat([levels.sigma, 0 * clean]), torch.cat([levels.timestep, clean])
        )

    def tuning(self, plan: TuningPlan) -> Tuning:  # type: ignore[override]
        raise NotImplementedError

    @contextmanager
    def changed(self, change: WeightChange | None, scale: float = 1.0) -> Iterator[None]:
        self.scale, self.offset = scale, float(change.tensors["offset"]) if change else 0.0
        try:
            yield
        finally:
            self.scale = 0.0

    def upper_stages(self) -> Sequence[Backbone]:
        return ()


def conditioning(*rows: Sequence[float]) -> Conditioning:
    return Conditioning({"sequence": torch.tensor(rows)}, frozenset({"sequence"}))


def fitted_state(
    e_opt: Sequence[float] = INPUT,
    e_tgt: Sequence[float] = TEXTS["sits"],
    offset: float | None = None,
    source: Sequence[float] | None = None,
) -> State:
    """A state of Imagic for `Answers`, as if fitted. offset: of the change, if there is one. source: the embedding of
    its source text "stands", if it has one."""
    tensors = {
        "z0": wanted(torch.tensor([INPUT])).clone(),
        "e_opt.sequence": torch.tensor([e_opt]),
        "e_tgt.sequence": torch.tensor([e_tgt]),
    }
    if offset is not None:
        tensors["change.offset"] = torch.tensor(offset)
    if source is not None:
        tensors["e_src.sequence"] = torch.tensor([source])
    facts = {
        "model": "answers",
        "fingerprint": "f" * 64,
        "target_text": "sits",
        "source_text": "" if source is None else "stands",
        "learnable": ["sequence"],
        "moved": 1.0,
        "change": None if offset is None else {"kind": "full", "facts": {}},
    }
    return State("imagic", tensors, facts)
