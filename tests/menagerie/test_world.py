"""The name of the world as it is drawn now, by which data kept from another one are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from diffusers import AutoencoderKL

from imagic.menagerie import anatomy, sampling
from imagic.menagerie.training.latents import latent_store
from imagic.menagerie.training.world import world_fingerprint


def test_the_same_world_has_the_same_name() -> None:
    assert world_fingerprint() == world_fingerprint()


def test_a_world_drawn_otherwise_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = world_fingerprint()
    monkeypatch.setitem(anatomy.FRAMES, "dog", anatomy.FRAMES["dog"]._replace(head=0.30))
    assert world_fingerprint() != before


def test_a_world_sampled_otherwise_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = world_fingerprint()
    monkeypatch.setitem(sampling.BASE_COLOURS, "brown", (0.60, 0.25, 0.13))
    assert world_fingerprint() != before


def test_latents_are_kept_by_world_and_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(encoder: str) -> str:
        return latent_store(cast(AutoencoderKL, None), encoder, reuse=1, seed=0, folder=tmp_path).name

    first = name("a" * 64)
    assert first != name("b" * 64)
    monkeypatch.setitem(anatomy.FRAMES, "dog", anatomy.FRAMES["dog"]._replace(head=0.30))
    assert name("a" * 64) != first
