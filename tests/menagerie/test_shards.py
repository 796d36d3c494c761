"""The store of training data: what a step sees depends on its number alone, wherever the rows are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from imagic.menagerie.training import shards
from imagic.menagerie.training.judging import TRIOS
from imagic.menagerie.training.latents import RICH
from imagic.menagerie.training.pairs import PAIRS
from imagic.menagerie.training.shards import SEEDS, SHARDS_OF_A_SEED, Group, ShardStore


class Rows:
    """Scenes are numbers here, and so are their rows."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, scenes: list[Any]) -> Tensor:
        self.made += len(scenes)
        return torch.tensor([float(scene) for scene in scenes]).reshape(-1, 1)


def nothing(scenes: list[Any]) -> Tensor:
    raise AssertionError("these rows are known already")


def store(make: Callable[[list[Any]], Tensor] | None = None, views: int = 1, **changes: Any) -> ShardStore:
    settings: dict[str, Any] = {"reuse": 2, "seed": 0, "shard": 6, "name": "rows"}
    group: Any = lambda number: list(range(views * number, views * (number + 1)))  # noqa: E731
    return ShardStore(group, make or Rows(), views=views, **{**settings, **changes})


def test_rows_are_those_of_their_scenes() -> None:
    scenes, rows = store().batch(3, 5)
    assert rows.shape == (5, 1)
    assert rows[:, 0].tolist() == scenes


def test_a_batch_is_a_function_of_the_step_alone() -> None:
    first, second = store(), store()
    walked = [first.batch(step, 4) for step in range(8)]
    for step in (7, 2, 5):
        scenes, rows = second.batch(step, 4)
        assert scenes == walked[step][0]
        assert torch.equal(rows, walked[step][1])
    assert any(store(seed=1).batch(step, 4)[0] != walked[step][0] for step in range(8))


def test_each_seed_has_scenes_of_its_own() -> None:
    seen = [{scene for step in range(40) for scene in store(seed=seed).batch(step, 6)[0]} for seed in range(3)]
    assert all(len(own) > 60 for own in seen)
    assert not (seen[0] & seen[1] | seen[1] & seen[2] | seen[0] & seen[2])


@pytest.mark.parametrize("group", [RICH, PAIRS, TRIOS], ids=lambda group: group.name)
def test_the_last_seed_has_scenes(group: Group) -> None:
    last = SEEDS * SHARDS_OF_A_SEED * shards.SHARD // group.views - 1
    assert len(group.scenes(last)) == group.views


def test_disk_and_memory_agree(tmp_path: Path) -> None:
    in_memory, written = store(), store(folder=tmp_path)
    for step in range(4):
        scenes, rows = in_memory.batch(step, 6)
        again, kept = written.batch(step, 6)
        assert again == scenes
        assert torch.equal(kept, rows)
        reread = store(nothing, folder=tmp_path).batch(step, 6)
        assert reread[0] == scenes
        assert torch.equal(reread[1], rows)


@pytest.mark.parametrize(("changes", "made"), [({"name": "others"}, 6), ({"shard": 9}, 9)])
def test_rows_of_another_kind_or_size_are_not_taken(tmp_path: Path, changes: dict[str, Any], made: int) -> None:
    store(folder=tmp_path).batch(0, 6)
    rows = Rows()
    store(rows, folder=tmp_path, **changes).batch(0, 6)
    assert rows.made == made


def test_groups_stay_together() -> None:
    scenes, rows = store(views=3).batch(0, 9)
    assert rows[:, 0].tolist() == scenes
    assert all(scenes[row] % 3 == 0 for row in (0, 3, 6))
    assert all(scenes[row : row + 3] == [scenes[row] + view for view in range(3)] for row in (0, 3, 6))


@pytest.mark.parametrize("views", [1, 3])
def test_each_group_is_used_as_often_as_asked_within_the_window(monkeypatch: pytest.MonkeyPatch, views: int) -> None:
    monkeypatch.setattr(shards, "WINDOW", 4)
    shard, reuse, groups, steps = 12, 5, 6, 2000
    rows = Rows()
    kept = store(rows, views, shard=shard, reuse=reuse)
    uses: Counter[int] = Counter()
    for step in range(steps):
        scenes, _ = kept.batch(step, groups * views)
        numbers = [scene // views for scene in scenes[::views]]
        uses.update(numbers)
        newest = step * groups // (shard * reuse)
        assert min(numbers) >= shard * max(0, newest - 3)
        assert max(numbers) < shard * (newest + 1)
    # The first shards are alone in the window, and so used more often; the last ones are not yet done with.
    middle = range(10 * shard, steps * groups // reuse - 4 * shard)
    mean = sum(uses[number] for number in middle) / len(middle)
    assert mean == pytest.approx(reuse, rel=0.02)
    assert rows.made == steps * groups * views // reuse  # each shard once
