"""The pictures of groups of scenes, drawn once and kept in bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.shards import SHARD, Group, ShardStore
from imagic.menagerie.training.world import draw


def picture_store(
    group: Group, *, reuse: int, seed: int, device: torch.device | str = "cpu", shard: int | None = None
) -> ShardStore:
    """Groups and their pictures (N, 3, 128, 128), uint8. shard: groups in a shard; None for SHARD scenes."""

    def make(scenes: list[Scene]) -> Tensor:
        return ((draw(scenes, device) + 1) * 127.5).round().byte()

    shard = SHARD // group.views if shard is None else shard
    return ShardStore(group.scenes, make, views=group.views, reuse=reuse, seed=seed, shard=shard)
