"""The autoencoder: its whitening and its measure."""

from __future__ import annotations

import copy

import pytest
import torch

from imagic.menagerie.training.vae import build_vae, psnr, round_trip, whiten
from imagic.menagerie.training.world import draw, scenes_of
from tests.menagerie.tiny import tiny_vae


def test_whitened_latents_have_mean_0_and_variance_1_and_pictures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagic.menagerie.training.vae.CHUNK", 8)
    before = tiny_vae(scaling_factor=0.3)
    after = copy.deepcopy(before)
    whiten(after, "cpu", count=24)
    images = draw(scenes_of(0, 24))
    plain, white = before.encode(images).latent_dist, after.encode(images).latent_dist
    torch.testing.assert_close(white.mean.mean((0, 2, 3)), torch.zeros(12), rtol=0, atol=1e-3)
    torch.testing.assert_close(white.mean.std((0, 2, 3)), torch.ones(12), rtol=1e-3, atol=0)
    assert (plain.mean.std((0, 2, 3)) - 1).abs().min() > 0.01  # there was something to do
    assert after.config["scaling_factor"] == 1.0
    torch.testing.assert_close(round_trip(after, images), round_trip(before, images), rtol=1e-3, atol=1e-4)
    # The spread of the posterior shrinks with its mean.
    ratio = white.std / plain.std
    expected = (1 / plain.mean.std((0, 2, 3)))[None, :, None, None].expand_as(ratio)
    torch.testing.assert_close(ratio, expected, rtol=1e-3, atol=0)


def test_psnr_of_a_known_error() -> None:
    """An error of 2, the whole range, is 0 dB; a tenth of it 20 dB."""
    assert psnr(torch.tensor(4.0)) == pytest.approx(0)
    assert psnr(torch.tensor(0.04)) == pytest.approx(20)


def test_the_real_autoencoder_shrinks_eightfold() -> None:
    assert build_vae().encode(torch.zeros(1, 3, 128, 128)).latent_dist.mean.shape == (1, 12, 16, 16)
