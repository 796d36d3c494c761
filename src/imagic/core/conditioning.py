"""What a text becomes for a model: a named bundle of tensors.

SD has one tensor (`sequence`); SDXL adds `pooled` and `time_ids`; SD3 and Flux add others. Methods never look inside:
they interpolate, optimise, repeat and concatenate whole bundles, and only the *learnable* tensors take part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

GUIDANCE = "guidance"


@dataclass(frozen=True)
class Conditioning:
    """A batch of text conditionings.

    tensors: name -> tensor of shape (B, ...). A model that takes the guidance scale as an input (Flux.1 dev) has it
        here as GUIDANCE (B,), at 1, which is none; core.sampling.predict_guided sets it.
    learnable: the names that embedding optimisation and interpolation touch (others, such as masks or size ids, are
        facts).

    A family may give each text as many tokens as it has, (B, L, ...). Where such bundles meet, the shorter is filled up
    with tokens of zeros, which are none to that family's network: a mixture has the tokens of both.
    """

    tensors: Mapping[str, Tensor]
    learnable: frozenset[str] = field(default=frozenset())

    def __post_init__(self) -> None:
        sizes = {tensor.shape[0] for tensor in self.tensors.values()}
        if len(sizes) != 1:
            raise ValueError(f"conditioning tensors differ in batch size: {sorted(sizes)}")
        if unknown := self.learnable - self.tensors.keys():
            raise ValueError(f"learnable names without a tensor: {sorted(unknown)}")
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def __len__(self) -> int:
        return int(next(iter(self.tensors.values())).shape[0])

    def __getitem__(self, index: slice | Tensor) -> Conditioning:
        return self._map({name: tensor[index] for name, tensor in self.tensors.items()})

    def _map(self, tensors: Mapping[str, Tensor]) -> Conditioning:
        return replace(self, tensors=tensors)

    def lerp(self, other: Conditioning, weight: float | Tensor) -> Conditioning:
        """(1 - weight) * self + weight * other on the learnable tensors; exact at weight 0 and 1 (Imagic, Eq. 3).

        weight: a number, or a tensor of shape (B,) with one weight per row; a bundle of one row is broadcast.
        """
        size = max(len(self), len(other), weight.numel() if isinstance(weight, Tensor) else 1)
        start, end = self.matched(other, size)
        mixed = dict(start.tensors)
        for name in self.learnable:
            a, b = start.tensors[name], end.tensors[name]
            w = torch.as_tensor(weight, dtype=a.dtype, device=a.device).reshape(-1, *[1] * (a.dim() - 1))
            # 1 - w and w multiply exact end points, so eta 0 and eta 1 give the same bits as the inputs.
            mixed[name] = (1 - w) * a + w * b
        return self._map(mixed)

    def matched(self, other: Conditioning, size: int) -> tuple[Conditioning, Conditioning]:
        """Both as `size` rows, and each learnable tensor as long in one as in the other."""
        start, end = dict(self.tensors), dict(other.tensors)
        for name in self.learnable:
            start[name], end[name] = _as_long([start[name], end[name]])
        return self._map(start).expand(size), other._map(end).expand(size)

    def detach(self) -> Conditioning:
        return self._map({name: tensor.detach() for name, tensor in self.tensors.items()})

    def trainable(self) -> Conditioning:
        """A copy whose learnable tensors are new leaves that require gradients."""
        return self._map(
            {
                name: tensor.detach().clone().requires_grad_(name in self.learnable)
                for name, tensor in self.tensors.items()
            }
        )

    def parameters(self) -> dict[str, Tensor]:
        """The learnable tensors by name."""
        return {name: self.tensors[name] for name in sorted(self.learnable)}

    def guided(self, scale: Tensor) -> Conditioning:
        """The bundle of a model that takes the guidance scale as an input, at that scale of each row, (B,)."""
        return self._map({**self.tensors, GUIDANCE: scale.to(self.tensors[GUIDANCE])})

    def expand(self, size: int) -> Conditioning:
        """A bundle of one row seen as `size` rows (no copy); a bundle of `size` rows as it is."""
        if len(self) == size:
            return self
        if len(self) != 1:
            raise ValueError(f"cannot expand a conditioning of {len(self)} rows to {size}")
        return self._map({name: tensor.expand(size, *tensor.shape[1:]) for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditioning:
        """Moved to a device; floating tensors also cast to `dtype`."""
        return self._map(
            {
                name: tensor.to(device, dtype if tensor.is_floating_point() else None)
                for name, tensor in self.tensors.items()
            }
        )

    @staticmethod
    def cat(bundles: Sequence[Conditioning]) -> Conditioning:
        """Bundles of the same names, one after the other along the batch."""
        first = bundles[0]
        return first._map(
            {name: torch.cat(_as_long([bundle.tensors[name] for bundle in bundles])) for name in first.tensors}
        )


def _as_long(tensors: Sequence[Tensor]) -> list[Tensor]:
    """(B, L, ...) each, with zeros at the end so that all have the largest L; tensors of one shape as they are."""
    if len({tensor.shape[1:] for tensor in tensors}) == 1:
        return list(tensors)
    longest = max(tensor.shape[1] for tensor in tensors)
    return [F.pad(each, [*[0] * (2 * each.dim() - 3), longest - each.shape[1]]) for each in tensors]
