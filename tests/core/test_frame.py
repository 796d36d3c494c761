"""The way to the model's square and back: what did not change stays bit for bit, what changed leaves no ghost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize
from torch import Tensor

from imagic.core.errors import ImageError, OptionError
from imagic.core.frame import DEAD_ZONE, Box, Frame
from imagic.core.images import Picture

SIDE = 64


def noise_picture(width: int, height: int, alpha: bool = False, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Picture(pixels[:, :, :3].copy(), pixels[:, :, 3].copy() if alpha else None)


def smooth_picture(width: int, height: int) -> Picture:
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        128 + 100 * np.sin(3 * x / width),
        128 + 100 * np.cos(4 * y / height),
        128 + 60 * np.sin(2 * (x + y) / width),
    ]
    return Picture(np.stack(planes, -1).astype(np.uint8))


def square(value: float, top: int, left: int, size: int, side: int = SIDE) -> Tensor:
    """Zero but for a square patch."""
    patch = torch.zeros(3, side, side)
    patch[:, top : top + size, left : left + size] = value
    return patch


sizes = st.tuples(st.integers(16, 300), st.integers(16, 300))


@settings(max_examples=60, deadline=None)
@given(size=sizes, side=st.integers(8, 96))
def test_the_fit_fills_the_square_and_keeps_the_aspect(size: tuple[int, int], side: int) -> None:
    frame = Frame(*size, side, Box(0, 0, *size))
    inner = frame.inner
    assert max(inner.width, inner.height) == side
    for length, full in ((inner.width, size[0]), (inner.height, size[1])):
        assert abs(length - side * full / max(size)) <= 0.5 or length == 1
    assert 0 <= inner.left <= side - inner.width
    assert abs(2 * inner.left + inner.width - side) <= 1
    assert abs(2 * inner.top + inner.height - side) <= 1


def test_to_model_is_an_antialiased_resize_in_the_models_range() -> None:
    picture = smooth_picture(256, 256)
    image = Frame.fit(picture, SIDE).to_model(picture)
    assert image.shape == (1, 3, SIDE, SIDE)
    assert image.dtype == torch.float32
    expected = resize(picture.rgb / 127.5 - 1, (SIDE, SIDE), order=3, anti_aliasing=True)
    assert np.abs(image[0].permute(1, 2, 0).numpy() - expected).max() < 0.03
    # Fine noise becomes grey, instead of other noise.
    assert Frame.fit(noise := noise_picture(512, 512), 16).to_model(noise).std() < 0.06


def test_a_picture_of_the_models_size_passes_bit_for_bit() -> None:
    picture = noise_picture(SIDE, SIDE)
    image = Frame.fit(picture, SIDE).to_model(picture)[0]
    np.testing.assert_array_equal(((image + 1) * 127.5).round().permute(1, 2, 0).numpy(), picture.rgb)


def test_padding_continues_the_picture_without_a_seam() -> None:
    picture = smooth_picture(128, 64)
    frame = Frame.fit(picture, SIDE)
    image = frame.to_model(picture)[0]
    top = frame.inner.top
    assert frame.inner == Box(0, 16, 64, 32)
    torch.testing.assert_close(image[:, top - 1], image[:, top], atol=0.1, rtol=0)
    torch.testing.assert_close(image[:, top + 32], image[:, top + 31], atol=0.1, rtol=0)
    assert (image[:, 0].mean(1) - image[:, top : top + 32].mean((1, 2))).abs().max() < 0.5


def test_padding_does_not_show_a_sharp_second_picture() -> None:
    picture = noise_picture(64, 32)
    image = Frame.fit(picture, SIDE).to_model(picture)[0]
    detail = (image[:, :, 1:] - image[:, :, :-1]).abs().mean((0, 2))
    assert detail[:8].max() < 0.2 * detail[16:48].mean()


@pytest.mark.parametrize("size", [(16, 4000), (4000, 16), (16, 17), (300, 301)])
def test_any_aspect_ratio(size: tuple[int, int]) -> None:
    picture = noise_picture(*size)
    frame = Frame.fit(picture, SIDE)
    image = frame.to_model(picture)
    assert image.shape == (1, 3, SIDE, SIDE)
    assert image.abs().max() <= 1
    back = frame.lay_over(picture, image[0], image[0])
    np.testing.assert_array_equal(back.rgb, picture.rgb)
    assert frame.lay_over(picture, -image[0], image[0]).rgb.shape == picture.rgb.shape


def test_transparent_parts_are_white_to_the_model() -> None:
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, :32] = 0
    picture = Picture(rgb, alpha)
    image = Frame.fit(picture, SIDE).to_model(picture)[0]
    assert (image[:, :, :32] == 1).all()
    assert (image[:, :, 32:] == -1).all()


def test_a_crop_is_what_the_model_sees() -> None:
    picture = noise_picture(200, 150)
    crop = Box(30, 40, SIDE, SIDE)
    image = Frame.fit(picture, SIDE, crop=crop).to_model(picture)[0]
    np.testing.assert_array_equal(((image + 1) * 127.5).round().permute(1, 2, 0).numpy(), picture.rgb[40:104, 30:94])


@pytest.mark.parametrize("crop", [(-1, 0, 20, 20), (0, 0, 201, 20), (190, 0, 20, 20), (0, 140, 20, 20), (0, 0, 15, 20)])
def test_crops_outside_the_picture_are_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(OptionError, match=r"The crop .*\."):
        Frame.fit(noise_picture(200, 150), SIDE, crop=Box(*crop))


def test_crops_as_text() -> None:
    assert Box.parse(" 10, 20,300,400") == Box(10, 20, 300, 400)
    for text in (
        "",
        "1,2,3",
        "1,2,3,4,5",
        "-1,2,3,4",
        "1.5,2,3,4",
        "a,b,c,d",
        "../../etc/passwd",
        "1,2,3,4\n5",
        "٣,1,1,1",
    ):
        with pytest.raises(OptionError, match=r"left,top,width,height"):
            Box.parse(text)


def test_sizes_follow_the_models_multiple() -> None:
    picture = noise_picture(40, 40)
    assert Frame.fit(picture, 512, 8).side == 512
    with pytest.raises(OptionError, match="not a multiple of 8; use 496 or 504"):
        Frame.fit(picture, 500, 8)
    with pytest.raises(OptionError, match="use 8 or 16"):
        Frame.fit(picture, 0, 8)


# Back to full size


@settings(max_examples=40, deadline=None)
@given(size=sizes, crop=st.booleans(), alpha=st.booleans(), seed=st.integers(0, 99))
def test_no_change_leaves_every_bit(size: tuple[int, int], crop: bool, alpha: bool, seed: int) -> None:
    picture = noise_picture(*size, alpha=alpha, seed=seed)
    box = Box(size[0] // 8, size[1] // 8, max(16, size[0] // 2), max(16, size[1] // 2)) if crop else None
    frame = Frame.fit(
        picture, SIDE, crop=box if box and box.left + box.width <= size[0] and box.top + box.height <= size[1] else None
    )
    same = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    back = frame.lay_over(picture, same, same.clone())
    np.testing.assert_array_equal(back.rgb, picture.rgb)
    if alpha:
        np.testing.assert_array_equal(back.alpha, picture.alpha)
    else:
        assert back.alpha is None


@pytest.mark.parametrize("side", [64, 128, 512])
def test_the_noise_of_two_decodings_leaves_every_bit(side: int) -> None:
    picture = noise_picture(600, 500)
    frame = Frame.fit(picture, side)
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(3, side, side, generator=generator) - 0.5
    noise = 0.03 * torch.randn(3, side, side, generator=generator)
    np.testing.assert_array_equal(frame.lay_over(picture, before + noise, before).rgb, picture.rgb)
    # The same amount, all in one direction and just past the dead zone, is a change.
    assert (frame.lay_over(picture, before + 1.5 * DEAD_ZONE, before).rgb != picture.rgb).any()


@pytest.mark.parametrize("side", [64, 128, 512])
def test_a_gentle_change_of_the_whole_picture_counts_in_full(side: int) -> None:
    rgb = noise_picture(600, 500).rgb // 2 + 50
    picture = Picture(rgb)
    frame = Frame.fit(picture, side)
    before = torch.zeros(3, side, side)
    change = 0.75 * DEAD_ZONE * torch.ones(3, side, side)
    back = frame.lay_over(picture, before + change, before).rgb.astype(int)
    assert np.abs(back - rgb - 127.5 * 0.75 * DEAD_ZONE).max() <= 0.5
    change[:, : side // 2] = 0  # as gentle, in half of it: what two decodings may differ by
    np.testing.assert_array_equal(frame.lay_over(picture, before + change, before).rgb, picture.rgb)


def test_only_the_surroundings_of_a_change_are_touched() -> None:
    picture = noise_picture(640, 640)
    frame = Frame.fit(picture, SIDE)
    back = frame.lay_over(picture, square(0.8, 24, 24, 16), torch.zeros(3, SIDE, SIDE))
    touched = (back.rgb != picture.rgb).any(-1)
    assert touched[240:400, 240:400].mean() > 0.99
    reach = 5 * 10  # five of the model's pixels
    touched[240 - reach : 400 + reach, 240 - reach : 400 + reach] = False
    assert not touched.any()


def test_strong_changes_leave_no_ghost_of_the_original() -> None:
    y, x = np.mgrid[0:640, 0:640]
    checks = np.where((x // 2 + y // 2) % 2, 30, 220).astype(np.uint8)  # finer than the model sees
    picture = Picture(np.dstack([checks] * 3))
    back = Frame.fit(picture, SIDE).lay_over(picture, square(0.8, 16, 16, 32), torch.zeros(3, SIDE, SIDE)).rgb
    assert back[180:460, 180:460].std() < 1
    assert abs(back[180:460, 180:460].mean() - 127.5 * 1.8) < 2
    # Adding the bare difference would have kept all of it.
    assert checks[180:460, 180:460].std() > 90


def test_the_outline_of_what_moved_away_does_not_stay() -> None:
    picture_side, edge = 640, 320
    rgb = np.full((picture_side, picture_side, 3), 60, np.uint8)
    rgb[:, edge:] = 200  # something bright, gone in the result
    picture = Picture(rgb)
    frame = Frame.fit(picture, SIDE)
    before = frame.to_model(picture)[0]
    result = torch.full_like(before, 60 / 127.5 - 1)
    back = frame.lay_over(picture, result, before).rgb.astype(int)
    assert np.abs(back - 60).max() <= 12


def test_a_gentle_change_keeps_the_originals_detail() -> None:
    y, x = np.mgrid[0:640, 0:640]
    checks = np.where((x + y) % 2, 100, 130).astype(np.uint8)
    picture = Picture(np.dstack([checks] * 3))
    before = Frame.fit(picture, SIDE).to_model(picture)[0]
    back = Frame.fit(picture, SIDE).lay_over(picture, before + 0.12, before).rgb
    assert np.abs(back - (checks[:, :, None] + 15.3)).max() <= 0.5


def test_plain_is_the_enlarged_result() -> None:
    picture = noise_picture(256, 256, alpha=True)
    frame = Frame.fit(picture, SIDE)
    result = frame.to_model(smooth_picture(256, 256))[0]
    back = frame.lay_over(picture, result, torch.zeros(3, SIDE, SIDE), plain=True)
    expected = resize((result.permute(1, 2, 0).numpy() + 1) * 127.5, (256, 256), order=3, mode="edge")
    assert np.abs(back.rgb[8:-8, 8:-8] - expected[8:-8, 8:-8]).max() < 2
    np.testing.assert_array_equal(back.alpha, picture.alpha)


@pytest.mark.parametrize("plain", [False, True])
def test_padding_never_comes_back(plain: bool) -> None:
    picture = smooth_picture(300, 150)
    frame = Frame.fit(picture, SIDE)
    image = frame.to_model(picture)[0]
    changed = image.clone()
    changed[:, : frame.inner.top] = 1
    changed[:, frame.inner.top + frame.inner.height :] = -1
    there = frame.lay_over(picture, changed, image, plain)
    np.testing.assert_array_equal(there.rgb, frame.lay_over(picture, image, image, plain).rgb)


@pytest.mark.parametrize("plain", [False, True])
def test_outside_a_crop_every_bit_stays(plain: bool) -> None:
    picture = noise_picture(300, 200, alpha=True)
    crop = Box(50, 40, 120, 90)
    frame = Frame.fit(picture, SIDE, crop=crop)
    back = frame.lay_over(picture, torch.ones(3, SIDE, SIDE), -torch.ones(3, SIDE, SIDE), plain)
    outside = np.ones((200, 300), bool)
    outside[40:130, 50:170] = False
    np.testing.assert_array_equal(back.rgb[outside], picture.rgb[outside])
    assert (back.rgb[60:110, 70:150] == 255).all()


def test_a_change_fades_towards_the_edge_of_a_crop_but_not_of_the_picture() -> None:
    picture = Picture(np.zeros((200, 200, 3), np.uint8))
    ones, zeros = torch.ones(3, SIDE, SIDE), -torch.ones(3, SIDE, SIDE)
    whole = Frame.fit(picture, SIDE).lay_over(picture, ones, zeros).rgb
    assert (whole == 255).all()
    corner = Frame.fit(picture, SIDE, crop=Box(0, 100, 100, 100)).lay_over(picture, ones, zeros).rgb
    assert (corner[100, :100] == 0).all()  # the crop's upper side cuts the picture
    assert (corner[199, :90] == 255).all()  # its lower side is the picture's own
    assert (corner[110:, 0] == 255).all()
    assert (corner[:, 99] == 0).all()


def test_all_rows_are_enlarged_alike() -> None:
    """Tall pictures are worked on in strips, which must not show."""
    picture = Picture(np.full((1000, 100, 3), 128, np.uint8))
    frame = Frame.fit(picture, SIDE)
    ramp = torch.linspace(-1, 1, SIDE)[None, :, None].expand(3, SIDE, SIDE)
    rows = frame.lay_over(picture, ramp, ramp, plain=True).rgb[:, 0, 0].astype(int)
    assert np.diff(rows).min() >= 0
    assert np.diff(rows).max() <= 1


def test_results_are_the_same_from_run_to_run_and_dtype_is_free() -> None:
    picture = noise_picture(333, 222)
    frame = Frame.fit(picture, SIDE)
    before, after = torch.zeros(3, SIDE, SIDE), square(0.5, 20, 20, 20)
    first = frame.lay_over(picture, after, before)
    np.testing.assert_array_equal(first.rgb, frame.lay_over(picture, after, before).rgb)
    np.testing.assert_array_equal(first.rgb, frame.lay_over(picture, after.bfloat16(), before.bfloat16()).rgb)
    assert (first.sha256, first.format) == ("", "")
    with pytest.raises(ValueError, match="read-only"):
        first.rgb[0, 0, 0] = 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_numbers_are_refused(value: Any) -> None:
    picture = noise_picture(100, 100)
    with pytest.raises(ImageError, match="float32"):
        Frame.fit(picture, SIDE).lay_over(picture, torch.full((3, SIDE, SIDE), value), torch.zeros(3, SIDE, SIDE))


def test_wrong_shapes_are_bugs() -> None:
    picture = noise_picture(100, 100)
    frame = Frame.fit(picture, SIDE)
    with pytest.raises(ValueError):
        frame.to_model(noise_picture(100, 99))
    with pytest.raises(ValueError):
        frame.lay_over(picture, torch.zeros(3, 32, 32), torch.zeros(3, SIDE, SIDE))
