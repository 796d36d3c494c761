"""Augmentation: what it changes, what it must not, and that a mirrored picture is said to be mirrored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from imagic.menagerie.training import augment as module
from imagic.menagerie.training.augment import augment


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirroring alone."""
    for name in ("SHIFT", "ZOOM", "NOISE"):
        monkeypatch.setattr(module, name, 0.0)


def steps(count: int, side: int = 16) -> Tensor:
    """Pictures that are dark on the left and bright on the right, each a little brighter than the one before."""
    ramp = torch.linspace(-0.8, 0.8, side).expand(count, 3, side, side)
    return ramp + torch.linspace(0, 0.1, count).view(-1, 1, 1, 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_mirrored_picture_is_mirrored_and_the_others_are_not(still: None) -> None:
    images = steps(60)
    found, mirrored = augment(images, 3, generator())
    assert 0 < int(mirrored.sum()) < 60
    assert torch.equal(mirrored.view(-1, 3)[:, 0], mirrored.view(-1, 3)[:, 2])
    expected = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    # A linear ramp stays itself under the softening, but for its outer columns.
    torch.testing.assert_close(found[..., 1:-1], expected[..., 1:-1], rtol=0, atol=1e-5)


def test_views_of_a_group_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOISE", 0.0)
    one = torch.randn(5, 3, 16, 16, generator=generator()).repeat_interleave(3, 0)
    monkeypatch.setattr("torch.nn.functional.avg_pool2d", lambda image, *_, **__: image[..., 1:-1, 1:-1])
    found, _ = augment(one, 3, generator(1))
    groups = found.view(5, 3, *found.shape[1:])
    torch.testing.assert_close(groups[:, 0], groups[:, 1])
    torch.testing.assert_close(groups[:, 0], groups[:, 2])
    assert not torch.allclose(found, one, atol=0.1)


def test_noise_is_as_strong_as_said_and_no_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = augment(torch.zeros(300, 3, 16, 16), 1, generator())
    deviations = found.flatten(1).std(1)
    assert float(deviations.max()) == pytest.approx(module.NOISE, rel=0.1)
    assert float(deviations.mean()) == pytest.approx(module.NOISE / 2, rel=0.15)


def test_the_same_generator_gives_the_same_pictures() -> None:
    images = steps(6)
    first, second, other = (augment(images, 3, generator(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
