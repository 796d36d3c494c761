"""A world small enough to check by hand.

A picture is 16 x 16. Its red top half tells the posture (above 0: sitting), its red bottom half the coat (above 0:
brown), its green channel the individual, and its blue channel is a still background.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from imagic.bench.types import Entry, Item, Pictures
from imagic.core.conditioning import Conditioning
from imagic.core.errors import TextError
from imagic.core.noise import NoiseLevels, Prediction
from imagic.core.options import option
from imagic.core.types import Ability, Candidate, EditResult, FitRequest, Progress, State, TextReport

SIZE = 16
SPREAD = 0.2


def draw(sitting, brown, individual, background):
    image = torch.zeros(3, SIZE, SIZE)
    image[0, :8] = 0.5 if sitting else -0.5
    image[0, 8:] = 0.5 if brown else -0.5
    image[1] = individual
    image[2] = background
    return image


class FakeJudge:
    threshold = 0.9

    def read(self, images):
        return [
            {
                "posture": "sitting" if image[0, :8].mean() > 0 else "standing",
                "coat": "brown" if image[0, 8:].mean() > 0 else "black",
            }
            for image in images
        ]

    def likeness(self, a, b):
        return 1 - (a[:, 1].mean((1, 2)) - b[:, 1].mean((1, 2))).abs()


@dataclass
class FakeSuite:
    """Items that alternate between "sit down" (posture) and "turn brown" (coat)."""

    name: str = "fakes"
    count: int = 6
    broken: frozenset[str] = frozenset()
    rendered: list[str] = field(default_factory=list)

    def items(self):
        return [self._item(index) for index in range(self.count)]

    def judge(self):
        return FakeJudge()

    def _item(self, index):
        sits, name = index % 2 == 0, f"item/{index}"

        def render(backbone):
            self.rendered.append(name)
            if name in self.broken:
                raise RuntimeError("no brush")
            individual, background = index / 10, -index / 10
            mask = torch.zeros(1, SIZE, SIZE)
            mask[:, :8] = sits
            mask[:, 8:] = not sits
            return Pictures(
                draw(False, False, individual, background), draw(sits, not sits, individual, background), mask
            )

        before = {"posture": "standing", "coat": "black"}
        after = {**before, "posture": "sitting"} if sits else {**before, "coat": "brown"}
        return Item(name, "posture" if sits else "coat", f"sit {index}" if sits else f"brown {index}", "an animal",
                    before, after, render)  # fmt: skip


class FakeBackbone:
    """Latents are pictures; decoding loses 2 % of the contrast, so that a round trip is not exact."""

    name = "fake"
    fingerprint = "f" * 64
    abilities = frozenset({Ability.GUIDANCE})
    prediction = Prediction.EPS
    image_size = SIZE
    size_multiple = 1
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self):
        alpha = torch.linspace(0.999, 0.001, 100, dtype=torch.float64)
        self.levels = NoiseLevels(alpha, (1 - alpha**2).sqrt(), torch.arange(100))

    def encode(self, image):
        return image.clone()

    def decode(self, z):
        return (0.98 * z).clamp(-1, 1)

    def encode_text(self, texts):
        """A text means pictures of one grey: its number in tenths, and the empty one -0.5."""
        greys = [float(text) / 10 if text else -0.5 for text in texts]
        return Conditioning({"sequence": torch.tensor(greys).reshape(-1, 1, 1)}, frozenset({"sequence"}))

    def report_text(self, text):
        return TextReport()

    def predict(self, z, timestep, conditioning):
        """Exact for pictures x0 ~ N(grey, s^2): E[eps | z] = sigma (z - alpha grey) / (alpha^2 s^2 + sigma^2)."""
        level = self.levels[timestep.long()]
        alpha, sigma = (value.float().reshape(-1, 1, 1, 1) for value in (level.alpha, level.sigma))
        grey = conditioning.tensors["sequence"].reshape(-1, 1, 1, 1)
        return sigma * (z - alpha * grey) / (alpha**2 * SPREAD**2 + sigma**2)

    def schedule(self, num_steps):
        picked = self.levels[torch.linspace(99, 0, num_steps).round().long()]
        return NoiseLevels(
            torch.cat([picked.alpha, torch.ones(1, dtype=torch.float64)]),
            torch.cat([picked.sigma, torch.zeros(1, dtype=torch.float64)]),
            torch.cat([picked.timestep, torch.zeros(1, dtype=torch.long)]),
        )

    def upper_stages(self):
        return ()


@dataclass(frozen=True)
class FakeFitOptions:
    effort: int = option(1, "Nothing.", minimum=0, maximum=9)


@dataclass(frozen=True)
class FakeEditOptions:
    eta: float = option(0.75, "Strength.", minimum=0, maximum=1)
    etas: tuple[float, ...] = option((), "Strengths.")


class FakeMethod:
    """Does what the text says, half way at eta 0.5; it is slow, and it refuses some items, as told."""

    name: ClassVar[str] = "fake"
    paper: ClassVar[str] = "none"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.GUIDANCE})
    texts: ClassVar[tuple[str, ...]] = ("target_text",)
    FitOptions: ClassVar[type] = FakeFitOptions
    EditOptions: ClassVar[type] = FakeEditOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"hard": {"effort": 5}}

    def __init__(self, refuse="", interrupt="", seconds=0.0):
        self.refuse, self.interrupt, self.seconds = refuse, interrupt, seconds
        self.requests: list[FitRequest] = []

    def fit(self, backbone, request, options):
        self.requests.append(request)
        time.sleep(self.seconds)
        yield Progress("fit", 1, 1)
        if request.target_text == self.refuse:
            raise TextError("Say it in other words.")
        if request.target_text == self.interrupt:
            raise KeyboardInterrupt
        return State("fake", {"image": request.image[0]}, {"text": request.target_text})

    def edit(self, backbone, state, options, seeds):
        yield Progress("edit", 1, 2)
        source, text = state.tensors["image"], state.facts["text"]

        def at(eta):
            image = source.clone()
            rows = slice(0, 8) if text.startswith("sit") else slice(8, 16)
            image[0, rows] += eta
            return Candidate(image, eta, seeds[0], {"agreement": eta, "closeness": 1 - eta})

        chosen = [at(eta) for eta in options.etas or (options.eta,)]
        sweep = [at(eta) for eta in (0.0, 0.25, 0.5, 1.0)]
        return EditResult(chosen, sweep[0].image, sweep, warnings=["a warning"])


def entry(label="fake", **options):
    method = options.pop("method", None) or FakeMethod()
    return Entry(label, method, **options)


def drain(work):
    """All progress of a generator, and its result."""
    seen = []
    while True:
        try:
            seen.append(next(work))
        except StopIteration as finished:
            return seen, finished.value
