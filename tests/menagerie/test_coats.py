"""Where coats lie: seen in the renderer's own strokes, and harmless to what a model learns."""

from __future__ import annotations

from dataclasses import replace

import torch

from imagic.menagerie.render import render
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.coats import coat_share, coat_weights
from imagic.menagerie.training.world import scenes_of


def test_the_weights_are_high_where_the_animal_is_and_their_mean_is_one() -> None:
    scenes = [scene for scene in scenes_of(0, 12) if scene.style == "plain"]
    weights = coat_weights(coat_share(scenes, 16), 4.0)
    assert weights.shape == (len(scenes), 1, 16, 16)
    assert abs(float(weights.mean()) - 1) < 1e-6
    empty = render([replace(scene, animals=()) for scene in scenes], 32)
    differs = ((render(scenes, 32) - empty).abs().amax(1, keepdim=True) > 0.3).float()
    animal = torch.nn.functional.avg_pool2d(differs, 2)
    high, low = float(weights[animal == 1].mean()), float(weights[animal == 0].mean())
    assert 3 < high / low <= 4.0


def test_a_scene_without_a_weight_counts_evenly() -> None:
    torch.testing.assert_close(coat_weights(coat_share([sample_scene(0)], 8), 1.0), torch.ones(1, 1, 8, 8))


def test_every_coat_is_seen_whatever_its_colour() -> None:
    def share(scene: Scene) -> float:
        return float((coat_share([scene], 16) > 0.5).float().mean())

    assert min(share(scene) for scene in scenes_of(0, 60)) > 0.01
