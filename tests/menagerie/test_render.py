from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from imagic.menagerie import render as renderer
from imagic.menagerie.backdrop import GROUND_RGB
from imagic.menagerie.bodies import strokes_of
from imagic.menagerie.facts import PLACES, SPECIES, STYLES
from imagic.menagerie.palette import ACCENT_RGB
from imagic.menagerie.render import IMAGE_SIZE, render
from imagic.menagerie.sampling import sample_scene
from imagic.menagerie.scenes import Scene
from imagic.menagerie.styles import PIXEL_ART_BLOCKS, apply_style
from tests.menagerie.portraits import LEVELS, STORED, portraits

NEUTRAL = (0.0, 1.0, 0.0)  # light from above, neither bright nor warm


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(seed) for seed in range(48)]


def one(scenes: list[Scene], species: str) -> Scene:
    """A plain scene of one bare animal of a species, alone."""
    scene = next(s for s in scenes if s.animals[0].species == species and len(s.animals) == 1)
    animal = replace(scene.animals[0], hat="none", scarf="none")
    return replace(scene, animals=(animal,), style="plain", light=NEUTRAL, things=())


@pytest.mark.parametrize("size", [32, 64, 100, 128])
def test_shape_and_range_at_every_size(scenes: list[Scene], size: int) -> None:
    images = render(scenes[:8], size)
    assert images.shape == (8, 3, size, size)
    assert images.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.std(dim=(1, 2, 3)).min() > 0.1


def test_the_usual_size_is_128(scenes: list[Scene]) -> None:
    assert IMAGE_SIZE == 128
    assert render(scenes[:1]).shape == (1, 3, 128, 128)


def test_a_scene_is_one_picture_whatever_the_batch(scenes: list[Scene]) -> None:
    together = render(scenes[:24], 32)
    torch.testing.assert_close(render(scenes[:24], 32), together, rtol=0, atol=0)
    alone = torch.cat([render([scene], 32) for scene in scenes[:24]])
    # Vectorised sums may differ in the last bits; pixel art rounds colours to levels, where they can tip.
    for scene, a, b in zip(scenes[:24], together, alone, strict=True):
        if scene.style != "pixel art":
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
        else:
            assert (a - b).abs().mean() < 0.002
    backwards = render(scenes[23::-1], 32).flip(0)
    assert (backwards - together).abs().mean() < 1e-4


def test_all_styles_in_one_batch_are_those_of_each(scenes: list[Scene]) -> None:
    styled = [replace(scenes[0], style=style) for style in STYLES]
    images = render(styled, 64)
    for style, image in zip(STYLES, images, strict=True):
        torch.testing.assert_close(image, render([replace(scenes[0], style=style)], 64)[0], rtol=0, atol=0.02)
    assert min((a - b).abs().mean() for i, a in enumerate(images) for b in images[:i]) > 0.03


def test_a_larger_picture_shows_the_same(scenes: list[Scene]) -> None:
    """Averaged down, the picture of twice the side is nearly the picture."""
    plain = [replace(scene, style="plain") for scene in scenes[:12]]
    halved = F.avg_pool2d(render(plain, 128), 2)
    assert (halved - render(plain, 64)).abs().mean() < 0.02


@pytest.mark.parametrize("species", [species for species in SPECIES if species != "sheep"])
def test_facing_left_mirrors_the_picture(scenes: list[Scene], species: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an even ground, with the light from the other side. (Wool's bumps run one way round, so no sheep here.)"""
    monkeypatch.setattr(renderer, "draw_backdrop", lambda scenes, x, y: torch.full((len(scenes), 3, *x.shape), 0.5))
    scene = replace(one(scenes, species), light=(0.8, 1.0, 0.0))
    animal = replace(scene.animals[0], facing="right", x=0.47)
    right = render([replace(scene, animals=(animal,))], 64)
    mirrored = replace(animal, facing="left", x=0.53)
    left = render([replace(scene, animals=(mirrored,), light=(-0.8, 1.0, 0.0))], 64)
    torch.testing.assert_close(left.flip(-1), right, rtol=0, atol=1e-3)
    assert (left - right).abs().max() > 0.3


@pytest.mark.parametrize("place", PLACES)
def test_grounds_have_their_colour(scenes: list[Scene], place: str) -> None:
    sky = "none" if place in PLACES[-2:] else "clear"
    animal = replace(one(scenes, "cat").animals[0], x=9.0)  # out of the picture
    scene = replace(one(scenes, "cat"), animals=(animal,), place=place, sky=sky)
    ground = (render([scene], 64)[0, :, 50:] + 1) / 2
    nearest = min(GROUND_RGB, key=lambda name: (ground.mean((1, 2)) - torch.tensor(GROUND_RGB[name])).norm().item())
    assert nearest == place


def test_a_ball_is_drawn_where_it_lies(scenes: list[Scene]) -> None:
    scene = next(s for s in scenes if any(thing.kind == "ball" for thing in s.things))
    ball = next(thing for thing in scene.things if thing.kind == "ball")
    scene = replace(scene, things=(ball,), style="plain", light=NEUTRAL)
    image = (render([scene], 128)[0] + 1) / 2
    centre = image[:, int((ball.y - ball.size / 2) * 128), int(ball.x * 128)]
    assert (centre - torch.tensor(ACCENT_RGB[ball.colour])).abs().max() < 0.1


def test_the_animal_is_drawn_within_its_strokes(scenes: list[Scene]) -> None:
    """Moving the animal out of the picture changes only pixels that its strokes or its shadow can reach."""
    scene = one(scenes, "dog")
    gone = replace(scene, animals=(replace(scene.animals[0], x=9.0),))
    a, b = render([scene, gone], 128)
    rows, columns = ((a - b).abs().amax(0) > 1e-4).nonzero().unbind(1)
    strokes, margin = strokes_of(scene.animals[0]), 0.06
    assert columns.min() / 128 > min(min(s.ax - s.ra, s.bx - s.rb) for s in strokes) - margin
    assert columns.max() / 128 < max(max(s.ax + s.ra, s.bx + s.rb) for s in strokes) + margin
    assert rows.min() / 128 > min(min(s.ay - s.ra, s.by - s.rb) for s in strokes) - margin
    assert rows.max() / 128 < scene.animals[0].y + margin


def test_coats_are_seen(scenes: list[Scene]) -> None:
    """The same animal with another phase of its pattern, and with none, are three pictures."""
    scene = one(scenes, "cow")
    coat = scene.animals[0].coat
    spots = replace(coat, pattern="spots", threshold=0.8, mark=(0.0, 0.0, 0.0), base=(1.0, 1.0, 1.0))
    spots = replace(spots, weights=(1.0, 1.0, 1.0), waves=((16.0, 0.0, 0.0), (-8.0, 13.9, 1.0), (-8.0, -13.9, 2.0)))
    moved = replace(spots, waves=tuple((kx, ky, phase + 2.5) for kx, ky, phase in spots.waves))
    bare = replace(spots, threshold=9.0)
    images = render([replace(scene, animals=(replace(scene.animals[0], coat=c),)) for c in (spots, moved, bare)], 64)
    for i, a in enumerate(images):
        for b in images[:i]:
            assert ((a - b).abs().amax(0) > 0.3).float().mean() > 0.01


def test_pixel_art_is_made_of_blocks(scenes: list[Scene]) -> None:
    image = render([replace(scenes[0], style="pixel art")], 128)[0]
    side = 128 // PIXEL_ART_BLOCKS
    blocks = image.unfold(1, side, side).unfold(2, side, side).flatten(3)
    assert (blocks.amax(3) - blocks.amin(3)).max() == 0


def test_a_pencil_sketch_is_pale(scenes: list[Scene]) -> None:
    plain, sketch = (render([replace(s, style=style) for s in scenes[:12]], 64) for style in STYLES[:2])
    chroma = [(image.amax(1) - image.amin(1)).mean() for image in (plain, sketch)]
    assert chroma[1] < 0.6 * chroma[0]
    assert sketch.mean() > plain.mean()


def test_an_oil_painting_is_bold_and_without_fine_detail(scenes: list[Scene]) -> None:
    """Strong colours; spots a pixel wide are painted over, edges of large areas stay."""
    plain, oil = (render([replace(s, style=style) for s in scenes[:12]], 64) for style in ("plain", "oil painting"))
    chroma = [(image.amax(1) - image.amin(1)).mean() for image in (plain, oil)]
    assert chroma[1] > 1.1 * chroma[0]
    image = torch.full((1, 3, 64, 64), 0.5)
    image[..., 32:] = 0.9
    image[..., 20, 10] = 1.0
    painted = apply_style(image, "oil painting")
    assert painted[..., 20, 10].max() < 0.65
    assert (painted[..., 34:].mean() - painted[..., :30].mean()) == pytest.approx(0.4, abs=0.02)


def test_the_world_is_still_the_one_models_were_trained_on() -> None:
    """Fixed seeds give the stored facts, and thumbnails that differ by at most one of 255 levels on any machine."""
    stored, drawn = json.loads(STORED.read_text(encoding="utf-8")), portraits()
    assert [portrait["facts"] for portrait in drawn] == [portrait["facts"] for portrait in stored]
    for old, new in zip(stored, drawn, strict=True):
        assert new["thumbnail"] == pytest.approx(old["thumbnail"], rel=0, abs=LEVELS / 255), old["facts"]


@pytest.mark.gpu
def test_the_gpu_draws_the_same(scenes: list[Scene]) -> None:
    plain = [replace(scene, style="plain") for scene in scenes]
    images = render(plain, 128, "cuda")
    assert images.device.type == "cuda"
    assert (images.cpu() - render(plain, 128)).abs().mean() < 1e-4
