"""The store of training latents: what a step sees depends on its number alone, wherever the latents are kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imagic.menagerie.facts import facts
from imagic.menagerie.render import render
from imagic.menagerie.sampling import is_held_out
from imagic.menagerie.training import latents as latents_module
from imagic.menagerie.training.latents import LatentStore
from imagic.menagerie.training.world import trio


class Pooling:
    """An encoder whose latents are known: means of 8 x 8 pixels."""

    dtype = torch.float32
    config = {"scaling_factor": 0.5}  # noqa: RUF012

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, images: Tensor) -> Any:
        self.encoded += len(images)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=F.avg_pool2d(images, 8)))


class Nothing(Pooling):
    def encode(self, images: Tensor) -> Any:
        raise AssertionError("these latents are known already")


def store(vae: Pooling | None = None, **changes: Any) -> LatentStore:
    settings = {"fingerprint": "f" * 64, "reuse": 2, "seed": 0, "folder": None, "device": "cpu", "shard": 6}
    return LatentStore(vae or Pooling(), **{**settings, **changes})  # type: ignore[arg-type]


def test_latents_are_those_of_their_scenes_scaled() -> None:
    scenes, found = store().batch(0, 5)
    expected = F.avg_pool2d(render(scenes), 8) * 0.5
    assert (found.dtype, found.shape) == (torch.float32, (5, 3, 16, 16))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_batch_is_a_function_of_the_step_alone() -> None:
    first, second = store(), store()
    walked = [first.batch(step, 4) for step in range(8)]
    for step in (7, 2, 5):
        scenes, found = second.batch(step, 4)
        assert scenes == walked[step][0]
        assert torch.equal(found, walked[step][1])
    assert store(seed=1).batch(7, 4)[0] != walked[7][0]


def test_disk_and_memory_agree(tmp_path: Path) -> None:
    in_memory, written = store(), store(folder=tmp_path)
    for step in range(4):
        scenes, found = in_memory.batch(step, 6)
        again, kept = written.batch(step, 6)
        assert again == scenes
        assert torch.equal(kept, found)
        reread = store(Nothing(), folder=tmp_path).batch(step, 6)
        assert reread[0] == scenes
        assert torch.equal(reread[1], found)


def test_latents_of_another_autoencoder_or_size_are_not_taken(tmp_path: Path) -> None:
    store(folder=tmp_path).batch(0, 6)
    for changes in ({"fingerprint": "e" * 64}, {"shard": 9}):
        vae = Pooling()
        store(vae, folder=tmp_path, **changes).batch(0, 6)
        assert vae.encoded == changes.get("shard", 6)


def test_precision_does_not_depend_on_the_surroundings() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = store().batch(0, 4)[1]
    assert torch.equal(inside, store().batch(0, 4)[1])


def test_trios_stay_together() -> None:
    scenes, found = store().trios(0, 9)
    known = [trio(seed) for seed in (0, 1)]
    assert found.shape == (9, 3, 16, 16)
    assert all(scenes[row : row + 3] in known for row in range(0, 9, 3))


def test_the_judge_sees_combinations_that_the_diffusion_model_never_does() -> None:
    def combinations(every: bool) -> set[bool]:
        scenes, _ = store(all_combinations=every, shard=90).batch(0, 60)
        return {is_held_out(*(facts(scene)[name] for name in ("species", "colour", "place"))) for scene in scenes}

    assert combinations(False) == {False}
    assert combinations(True) == {False, True}


def test_a_shard_of_broken_trios_is_refused() -> None:
    with pytest.raises(ValueError, match="whole trios"):
        store(shard=7)


class Counted(Pooling):
    """Scenes are numbers here, and so are their latents."""

    def encode(self, images: Tensor) -> Any:
        self.encoded += len(images)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=images))


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(scenes: list[Any], device: object) -> Tensor:
        return torch.tensor([float(scene) for scene in scenes]).reshape(-1, 1, 1, 1)

    monkeypatch.setattr(latents_module, "trio", lambda seed, held_out: [3 * seed, 3 * seed + 1, 3 * seed + 2])
    monkeypatch.setattr(latents_module, "draw", draw)
    monkeypatch.setattr(latents_module, "WINDOW", 4)


@pytest.mark.parametrize("trios", [False, True])
def test_each_scene_is_used_as_often_as_asked_within_the_window(numbered: None, trios: bool) -> None:
    shard, reuse, size, steps = 12, 5, 6, 2000
    vae = Counted()
    latents = store(vae, shard=shard, reuse=reuse)
    uses: Counter[Any] = Counter()
    for step in range(steps):
        scenes, _ = latents.trios(step, size) if trios else latents.batch(step, size)
        uses.update(scenes)
        newest = step * size // (shard * reuse)
        assert min(scenes) >= shard * max(0, newest - 3)
        assert max(scenes) < shard * (newest + 1)
    # The first shards are alone in the window, and so used more often; the last ones are not yet done with.
    middle = range(10 * shard, steps * size // reuse - 4 * shard)
    mean = sum(uses[scene] for scene in middle) / len(middle)
    assert mean == pytest.approx(reuse, rel=0.02)
    assert vae.encoded == steps * size // reuse  # each shard once
