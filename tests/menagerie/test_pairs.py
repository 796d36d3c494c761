"""Training pairs: a source and its truth side by side, of every group, and their pictures and latents."""

from __future__ import annotations

from pathlib import Path

import torch

from imagic.menagerie.edits import GROUPS, sample_edit
from imagic.menagerie.facts import facts
from imagic.menagerie.sampling import is_held_out
from imagic.menagerie.training.latents import encode, latent_store
from imagic.menagerie.training.pairs import PAIRS, pair
from imagic.menagerie.training.pictures import picture_store
from imagic.menagerie.training.world import draw, world_fingerprint
from tests.menagerie.tiny import tiny_vae


def test_numbers_go_through_the_groups_and_show_nothing_held_out() -> None:
    pairs = [pair(number) for number in range(5 * len(GROUPS))]
    assert [tuple(each) for each in pairs] == [
        (edit.source, edit.truth) for seed in range(5) for edit in (sample_edit(seed, group) for group in GROUPS)
    ]
    for scene in (scene for each in pairs for scene in each):
        assert not is_held_out(*(facts(scene)[name] for name in ("species", "colour", "place")))


def test_pictures_are_of_their_scenes_pair_by_pair() -> None:
    scenes, pictures = picture_store(PAIRS, reuse=1, seed=0, shard=6).batch(0, 8)
    assert (pictures.dtype, pictures.shape) == (torch.uint8, (8, 3, 128, 128))
    known = [pair(number) for number in range(6)]
    assert all(scenes[row : row + 2] in known for row in range(0, 8, 2))
    torch.testing.assert_close(pictures.float() / 127.5 - 1, draw(scenes), rtol=0, atol=1 / 255 + 1e-6)


def test_latents_are_of_their_scenes_and_kept_under_a_name_of_their_own(tmp_path: Path) -> None:
    vae = tiny_vae()
    scenes, latents = latent_store(vae, "f" * 64, PAIRS, reuse=1, seed=0, shard=3, folder=tmp_path).batch(0, 4)
    torch.testing.assert_close(latents, encode(vae, scenes, "cpu").half(), rtol=0, atol=2e-2)
    assert [path.name for path in tmp_path.iterdir()] == [
        f"latents-{world_fingerprint()}-{'f' * 12}-edits-3-000000.safetensors"
    ]
