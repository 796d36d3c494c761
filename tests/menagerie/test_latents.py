"""The latents of training scenes: of known combinations, encoded and scaled as the model is trained; and beside
them where coats are seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from imagic.menagerie.facts import facts
from imagic.menagerie.render import render
from imagic.menagerie.sampling import is_held_out, sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.coats import coat_share
from imagic.menagerie.training.latents import latent_store, rich_scene
from imagic.menagerie.training.shards import ShardStore


class Pooling:
    """An encoder whose latents are known: means of 8 x 8 pixels."""

    dtype = torch.float32
    config = {"scaling_factor": 0.5}  # noqa: RUF012

    def encode(self, images: Tensor) -> Any:
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=F.avg_pool2d(images, 8)))


def store(fingerprint: str = "f" * 64, coats: bool = False) -> ShardStore:
    return latent_store(cast(AutoencoderKL, Pooling()), fingerprint, reuse=2, seed=0, shard=6, coats=coats)


def test_latents_are_those_of_their_scenes_scaled() -> None:
    scenes, found = store().batch(0, 5)
    assert (found.dtype, found.shape) == (torch.float16, (5, 3, 16, 16))
    expected = F.avg_pool2d(render(scenes), 8) * 0.5
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


def test_one_more_channel_tells_where_coats_are() -> None:
    scenes, found = store(coats=True).batch(0, 5)
    assert torch.equal(found[:, :3], store().batch(0, 5)[1])
    torch.testing.assert_close(found[:, 3:].float(), coat_share(scenes, 16))
    assert store(coats=True).name != store().name


def test_scenes_are_of_the_training_world() -> None:
    scenes, _ = store().batch(0, 12)
    known = [sample_scene(seed, held_out=False) for seed in range(12)]
    assert all(scene in known for scene in scenes)
    assert not any(is_held_out(*(facts(scene)[name] for name in ("species", "colour", "place"))) for scene in scenes)


def test_of_two_scenes_the_richer_one_is_taken() -> None:
    def rare(scene: Scene) -> int:
        return sum(facts(scene)[name] != "none" for name in ("hat", "scarf", "ball"))

    taken = [rare(rich_scene(number)) for number in range(200)]
    pairs = [(rare(sample_scene(2 * number)), rare(sample_scene(2 * number + 1))) for number in range(200)]
    assert taken == [max(pair) for pair in pairs]


def test_precision_does_not_depend_on_the_surroundings() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = store().batch(0, 4)[1]
    assert torch.equal(inside, store().batch(0, 4)[1])


def test_another_encoder_has_other_shards() -> None:
    assert store("a" * 64).name != store("b" * 64).name
