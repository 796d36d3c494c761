"""Masks as files, softened, on the latent grid, and laid over a picture: what is black stays, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from imagic.core.errors import ImageError, OutputError
from imagic.core.frame import Box, Frame
from imagic.core.images import Picture
from imagic.core.masks import Mask, as_mask, feathered, into_state, of_state, to_latent
from imagic.core.types import State

SIDE = 64


def picture(width: int = 40, height: int = 30) -> Picture:
    return Picture(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def blob(width: int = 40, height: int = 30) -> npt.NDArray[np.uint8]:
    """Black with a white rectangle in its upper left part."""
    plane = np.zeros((height, width), np.uint8)
    plane[5 : height // 2, 8 : width // 2] = 255
    return plane


def grid(seed: int, side: int, share: float) -> Tensor:
    """A random binary mask (1, 1, side, side)."""
    return (torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(seed)) < share).float()


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA", "LA"])
def test_a_file_of_any_kind_is_read(tmp_path: Path, mode: str) -> None:
    Image.fromarray(blob()).convert(mode).save(tmp_path / "mask.png")
    mask = as_mask(tmp_path / "mask.png", picture())
    np.testing.assert_array_equal(mask.plane, blob())
    assert mask.share == pytest.approx((blob() == 255).mean())
    assert len(mask.sha256) == len(mask.pixels_sha256) == 64
    assert mask.notes == ()


def test_images_arrays_and_masks_are_taken_too() -> None:
    for source in (Image.fromarray(blob()), blob(), blob() / 255.0, Mask(blob())):
        np.testing.assert_array_equal(as_mask(source, picture()).plane, blob())


@pytest.mark.parametrize("scale", [2, 3, 10])
def test_any_size_is_brought_to_the_pictures(scale: int) -> None:
    large = np.kron(blob(), np.ones((scale, scale), np.uint8))
    np.testing.assert_array_equal(as_mask(large, picture()).plane, blob())
    np.testing.assert_array_equal(as_mask(blob(), picture(40 * scale, 30 * scale)).plane, large)


def test_grey_is_kept_and_what_jpeg_leaves_of_black_and_white_is_not(tmp_path: Path) -> None:
    soft = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
    inner = (soft > 20) & (soft < 235)
    np.testing.assert_array_equal(as_mask(soft, picture()).plane[inner], soft[inner])
    smooth = Image.fromarray(blob()).resize((400, 300), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "mask.jpg", quality=90)
    read = as_mask(tmp_path / "mask.jpg", picture(400, 300)).plane
    assert (read[:40] == 0).all()
    assert (read[60:140, 90:190] == 255).all()


def test_transparent_is_black() -> None:
    pixels = np.full((30, 40, 4), 255, np.uint8)
    pixels[..., 3] = blob()
    np.testing.assert_array_equal(as_mask(pixels, picture()).plane, blob())


def test_other_proportions_are_stretched_with_a_word() -> None:
    mask = as_mask(np.full((20, 20), 255, np.uint8), picture())
    assert mask.plane.shape == (30, 40)
    (note,) = mask.notes
    assert "20 x 20" in note
    assert "stretched" in note
    assert as_mask(np.full((20, 27), 255, np.uint8), picture()).notes == ()  # rounding


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="colours"):
        as_mask(picture(), picture())
    (tmp_path / "mask.png").write_text("white")
    with pytest.raises(ImageError, match="not an image"):
        as_mask(tmp_path / "mask.png", picture())
    with pytest.raises(ImageError, match="does not exist"):
        as_mask(tmp_path / "nothing.png", picture())
    with pytest.raises(ImageError, match="folder"):
        as_mask(tmp_path, picture())
    with pytest.raises(ImageError, match="another picture"):
        as_mask(Mask(blob()), picture(41, 30))


def test_a_saved_mask_is_read_back_and_never_overwrites(tmp_path: Path) -> None:
    soft = Mask(np.tile(np.arange(20, 220, 5, dtype=np.uint8), (30, 1)))
    soft.save(tmp_path / "mask.png")
    read = as_mask(tmp_path / "mask.png", picture())
    np.testing.assert_array_equal(read.plane, soft.plane)
    np.testing.assert_array_equal(read.inverted().plane, 255 - soft.plane)
    with pytest.raises(OutputError, match="exists already"):
        soft.save(tmp_path / "mask.png")
    Mask(blob()).save(tmp_path / "mask.png", overwrite=True)
    with pytest.raises(OutputError, match=r"\.png"):
        soft.save(tmp_path / "mask.jpg")


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1, 0.25])
def test_a_feather_rises_with_the_distance_from_the_edge(share: float) -> None:
    """Against scipy's chessboard distance to the nearest 0, where the sides of the image are no edge."""
    mask = grid(1, 48, 0.02)
    mask = 1 - torch.nn.functional.max_pool2d(mask, 5, 1, 2)
    reach = max(1, round(share * 48))
    padded = np.pad(mask[0, 0].numpy(), 48, constant_values=1)
    distance = distance_transform_cdt(padded, "chessboard")[48:-48, 48:-48]
    expected = np.minimum(distance, reach) / reach
    np.testing.assert_allclose(feathered(mask, share)[0, 0].numpy(), expected, atol=1e-6)


def test_a_feather_leaves_black_and_full_masks_alone() -> None:
    assert torch.equal(feathered(torch.ones(2, 1, 9, 9), 0.25), torch.ones(2, 1, 9, 9))
    soft = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * grid(3, 32, 0.5)
    assert (feathered(soft, 0.2)[soft == 0] == 0).all()
    assert torch.equal(feathered(soft, 0.0), soft)
    assert torch.equal(feathered(soft, 0.2)[1], feathered(soft[1], 0.2))


def test_a_latent_cell_may_change_as_much_as_any_pixel_in_it() -> None:
    mask = torch.rand(1, 1, 32, 24, generator=torch.Generator().manual_seed(0))
    latent = to_latent(mask, 8, 6)
    for row in range(8):
        for column in range(6):
            cell = mask[0, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert latent[0, 0, row, column] == cell.max()


def test_a_state_carries_a_mask() -> None:
    state = State("diffedit", {"z0": torch.zeros(1)}, {})
    assert of_state(state) is None
    assert into_state(state, None) is state
    mask = grid(0, 8, 0.5)
    with_mask = into_state(state, mask.double())
    assert torch.equal(of_state(with_mask), mask)
    assert with_mask.tensors.keys() == {"z0", "mask"}


@pytest.mark.parametrize("crop", [None, Box(100, 20, 128, 64), Box(0, 0, 64, 192)])
def test_cells_that_are_written_at_the_pictures_size_are_read_back(crop: Box | None) -> None:
    large = picture(384, 192)
    frame = Frame.fit(large, SIDE, crop=crop)
    cells = grid(5, 16, 0.4)
    plane = frame.mask_to_picture(cells[0, 0])
    outside = np.ones((192, 384), bool)
    box = frame.box
    outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
    assert (plane[outside] == 0).all()
    inner = frame.inner
    rows = slice(inner.top * 16 // SIDE, (inner.top + inner.height) * 16 // SIDE)
    columns = slice(inner.left * 16 // SIDE, (inner.left + inner.width) * 16 // SIDE)
    back = to_latent(frame.mask_to_model(plane), 16, 16)
    assert torch.equal(back[..., rows, columns], cells[..., rows, columns])


def test_a_mask_continues_into_the_padding_as_the_picture_does() -> None:
    plane = np.zeros((100, 200), np.uint8)
    plane[:20] = 255
    model = Frame.fit(picture(200, 100), 200).mask_to_model(plane)[0, 0]
    assert (model[50:70] == 1).all()
    assert (model[30:50] == 1).all()  # its mirror image
    assert (model[:30] == 0).all()
    assert (model[70:130] == 0).all()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("feather", [0.0, 0.1])
def test_nothing_is_laid_over_what_is_black(plain: bool, feather: float) -> None:
    large = picture(300, 200)
    frame = Frame.fit(large, SIDE, crop=Box(20, 10, 250, 180))
    mask = (np.random.default_rng(1).random((20, 30)) < 0.4).repeat(10, 0).repeat(10, 1)
    plane = np.where(mask, np.uint8(255), np.uint8(0))
    ones = torch.ones(3, SIDE, SIDE)
    back = frame.lay_over(large, ones, -ones, plain, plane, feather)
    np.testing.assert_array_equal(back.rgb[~mask], large.rgb[~mask])
    assert (back.rgb[mask] != large.rgb[mask]).mean() > 0.2


def test_deep_inside_a_mask_the_edit_is_whole_and_towards_its_edge_it_fades() -> None:
    large = Picture(np.zeros((256, 256, 3), np.uint8))
    frame = Frame.fit(large, SIDE)
    plane = np.zeros((256, 256), np.uint8)
    plane[64:192, :] = 255
    ones = torch.ones(3, SIDE, SIDE)
    free = frame.lay_over(large, ones, -ones).rgb
    assert (free == 255).all()
    hard = frame.lay_over(large, ones, -ones, mask=plane).rgb[:, 128, 0].astype(int)
    soft = frame.lay_over(large, ones, -ones, mask=plane, feather=0.125).rgb[:, 128, 0].astype(int)
    assert (hard[:64] == 0).all()
    assert (hard[70:186] == 255).all()
    assert (np.diff(soft[:128]) >= 0).all()
    # Model pixels count: 1/8 of the side is 8 of them, and the middle of the fourth has 4 of 8.
    assert soft[64 + 3 * 4 + 2] == pytest.approx(255 * 4 / 8, abs=20)
    assert (soft[64 + 9 * 4 : 128] == 255).all()


def test_grey_lays_over_in_parts() -> None:
    large = Picture(np.full((64, 64, 3), 100, np.uint8))
    frame = Frame.fit(large, SIDE)
    plane = np.full((64, 64), 51, np.uint8)  # a fifth
    result = torch.full((3, SIDE, SIDE), 1.0)
    for plain in (False, True):
        back = frame.lay_over(large, result, -result, plain, plane)
        full = frame.lay_over(large, result, -result, plain).rgb.astype(float)
        np.testing.assert_allclose(back.rgb, 100 + (full - 100) / 5, atol=1)


def test_without_a_mask_nothing_is_different() -> None:
    large = picture(300, 200)
    frame = Frame.fit(large, SIDE)
    result = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    white = np.full((200, 300), 255, np.uint8)
    np.testing.assert_array_equal(
        frame.lay_over(large, result, -result, mask=white).rgb, frame.lay_over(large, result, -result).rgb
    )
