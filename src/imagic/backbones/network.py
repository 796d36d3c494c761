"""What every family over one denoising network shares: pictures, levels, precision, and changing the network's weights
with a way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from imagic.backbones import export, weights
from imagic.backbones.placement import Place
from imagic.core.errors import AbilityError, ModelError
from imagic.core.noise import NoiseLevels
from imagic.core.types import Backbone, Tuning, TuningPlan, UpperStage, WeightChange


def check_channels(name: str, network: Any, channels: int) -> None:
    """Raises ModelError unless the network takes `channels`, those of the latents: others also take a mask, an image or
    a depth map."""
    if network.config["in_channels"] != channels:
        raise ModelError(
            f"The model '{name}' is not a text-to-image model: its network takes {network.config['in_channels']}"
            f" channels, its latents have {channels}."
        )


def longer_side(network: Any) -> int:
    """Of the latents on which the network was trained; its config may have one side for both."""
    sides = network.config["sample_size"]
    return int(sides if isinstance(sides, int) else max(sides))


class Pictures(Protocol):
    """What stands between pictures and latents: backbones.autoencoder or backbones.pixels. factor: pixels per latent
    along a side."""

    factor: int

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


class Grid(Protocol):
    """A checkpoint's noise levels: backbones.vp or backbones.flow."""

    levels: NoiseLevels

    def schedule(self, num_steps: int) -> NoiseLevels: ...


class NetworkBackbone(Backbone):
    """core.types.Backbone but for its texts and `predict`, which a family adds.

    part: the network's name in the family's pipeline. forms: in which a change of it can be exported.
    """

    part: ClassVar[str] = export.UNET
    forms: ClassVar[tuple[str, ...]] = (export.DIFFUSERS,)

    def __init__(
        self,
        name: str,
        network: nn.Module,
        pictures: Pictures,
        grid: Grid,
        place: Place,
        autocast: torch.dtype | None,
    ) -> None:
        """network: taken over. autocast: the lower precision of `lower_precision`; None for none."""
        self.name, self.network = name, network
        self._pictures, self._grid, self.levels = pictures, grid, grid.levels
        self.device, self.dtype, self.autocast = place.device, place.dtype, autocast
        self._lowered = False
        self._use = ""  # what holds the weights now: "tuning", "change" or nothing
        place.settle(network, stays=True)

    def encode(self, image: Tensor) -> Tensor:
        return self._pictures.encode(image)

    def decode(self, z: Tensor) -> Tensor:
        return self._pictures.decode(z)

    def schedule(self, num_steps: int) -> NoiseLevels:
        return self._grid.schedule(num_steps)

    @contextmanager
    def tuning(self, plan: TuningPlan) -> Iterator[Tuning]:
        with self._taken("tuning"), weights.tune(self.network, plan) as tuning:
            yield tuning

    @contextmanager
    def changed(self, change: WeightChange | None, scale: float = 1.0) -> Iterator[None]:
        with self._taken("change"), weights.apply(self.network, change, scale):
            yield

    @contextmanager
    def lower_precision(self) -> Iterator[None]:
        before, self._lowered = self._lowered, True
        try:
            yield
        finally:
            self._lowered = before

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        network: Any = self.network
        network.enable_gradient_checkpointing()
        try:
            yield
        finally:
            network.disable_gradient_checkpointing()

    @contextmanager
    def _precision(self) -> Iterator[torch.dtype]:
        """The dtype of the network's inputs, and the arithmetic within which it runs."""
        # Tuned weights are float32 beside frozen ones in dtype: autocast brings them together in dtype.
        lower = self.dtype if self._use == "tuning" and self.dtype != torch.float32 else None
        if self._lowered:
            lower = self.autocast or lower
        with torch.autocast(self.device.type, dtype=lower, enabled=lower is not None):
            yield torch.float32 if lower else self.dtype

    @contextmanager
    def _taken(self, use: str) -> Iterator[None]:
        if self._use:
            raise RuntimeError(f"the weights are already in use by a {self._use}: leave that context first")
        self._use = use
        try:
            yield
        finally:
            self._use = ""

    def upper_stages(self) -> Sequence[UpperStage]:
        return ()

    def exported(self, change: WeightChange, form: str) -> Mapping[str, Tensor]:
        if form not in self.forms:
            raise AbilityError(f"The model '{self.name}' has no form '{form}': choose one of {', '.join(self.forms)}.")
        return export.named(change, self.part, form)

    def save_network(self, folder: Path) -> None:
        export.write_network(self.network, folder / self.part)
