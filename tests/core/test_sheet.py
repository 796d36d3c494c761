"""The contact sheet shows every candidate in its place; the sweep goes there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from imagic.core.errors import OptionError, OutputError
from imagic.core.sheet import check_sweep_output, contact_sheet, write_sheet, write_sweep
from imagic.core.types import Candidate

SIDE = 64


def flat(red: int, green: int, blue: int) -> Tensor:
    return (torch.tensor([red, green, blue]) / 127.5 - 1)[:, None, None].expand(3, SIDE, SIDE)


def colours(strength: float, seed: int) -> tuple[int, int, int]:
    return round(200 * strength), 60 * seed, 128


def candidates(strengths: tuple[float, ...] = (1.0, 0.0, 0.5), seeds: tuple[int, ...] = (2, 1)) -> list[Candidate]:
    return [Candidate(flat(*colours(s, n)), s, n) for s in strengths for n in seeds]


def blocks(sheet: Image.Image) -> list[list[tuple[int, int, int]]]:
    """The colours of all flat blocks of cell size, row by row from left to right."""
    pixels = np.asarray(sheet)
    found = []
    y = 0
    while y + SIDE <= pixels.shape[0]:
        row, x = [], 0
        while x + SIDE <= pixels.shape[1]:
            block = pixels[y : y + SIDE, x : x + SIDE].reshape(-1, 3)
            if tuple(block[0]) != (255, 255, 255) and (block == block[0]).all():
                row.append(tuple(int(level) for level in block[0]))
                x += SIDE
            else:
                x += 1
        if row:
            found.append(row)
            y += SIDE
        else:
            y += 1
    return found


def test_input_and_reconstruction_first_then_strengths_across_and_seeds_down() -> None:
    sheet = contact_sheet(candidates(), flat(9, 9, 9), flat(90, 90, 90))
    assert blocks(sheet) == [
        [(9, 9, 9), (90, 90, 90), colours(0.0, 1), colours(0.5, 1), colours(1.0, 1)],
        [colours(0.0, 2), colours(0.5, 2), colours(1.0, 2)],
    ]


def test_missing_candidates_stay_blank() -> None:
    some = [c for c in candidates() if (c.strength, c.seed) != (0.5, 1)]
    assert blocks(contact_sheet(some, flat(9, 9, 9), flat(90, 90, 90)))[0] == [
        (9, 9, 9),
        (90, 90, 90),
        colours(0.0, 1),
        colours(1.0, 1),
    ]


def test_labels_are_drawn_and_name_the_strength() -> None:
    few = candidates((0.5,), (1,))
    sheets = [
        np.asarray(contact_sheet(few, flat(9, 9, 9), flat(9, 9, 9), strength_name=name)) for name in ("eta", "xyz")
    ]
    assert sheets[0].shape == sheets[1].shape
    differing = np.argwhere((sheets[0] != sheets[1]).any(-1))
    assert len(differing) > 0
    assert differing[:, 0].max() < 8 + 2 * 14  # in the row of column labels
    other_seed = np.asarray(contact_sheet(candidates((0.5,), (7,)), flat(9, 9, 9), flat(9, 9, 9)))
    assert (other_seed[:, :60] != sheets[0][:, :60]).any()  # in the column of row labels


def test_the_chosen_candidate_is_framed() -> None:
    all_of_them = candidates()
    plain = np.asarray(contact_sheet(all_of_them, flat(9, 9, 9), flat(9, 9, 9)))
    chosen = contact_sheet(all_of_them, flat(9, 9, 9), flat(9, 9, 9), chosen=all_of_them[0])
    assert blocks(chosen) == blocks(contact_sheet(all_of_them, flat(9, 9, 9), flat(9, 9, 9)))
    changed = np.argwhere((np.asarray(chosen) != plain).any(-1))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert (bottom - top + 1, right - left + 1) == (SIDE + 6, SIDE + 6)
    assert tuple(plain[(top + bottom) // 2, (left + right) // 2]) == colours(1.0, 2)


def test_large_pictures_are_shrunk_and_absurd_sheets_refused() -> None:
    big = torch.zeros(3, 300, 600)
    sheet = contact_sheet([Candidate(big, 0.5, 0)], big, big, max_cell=100)
    assert sheet.height < 110
    assert sheet.width < 4 * 130
    grey = flat(128, 128, 128)
    many = [Candidate(grey, number / 200, number) for number in range(200)]
    with pytest.raises(OptionError, match="200 x 202 is too large"):
        contact_sheet(many, grey, grey)
    with pytest.raises(ValueError):
        contact_sheet([], big, big)


def test_sheets_are_written_as_png_and_never_over_a_file(tmp_path: Path) -> None:
    sheet = contact_sheet(candidates(), flat(9, 9, 9), flat(90, 90, 90))
    write_sheet(tmp_path / "sheet.png", sheet)
    with Image.open(tmp_path / "sheet.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(sheet))
    with pytest.raises(OutputError, match="exists already"):
        write_sheet(tmp_path / "sheet.png", sheet)
    with pytest.raises(OutputError, match=r"must end in \.png"):
        write_sheet(tmp_path / "sheet.jpg", sheet)


def sweep() -> list[Image.Image]:
    return [Image.new("RGB", (40, 30), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0))]


@pytest.mark.parametrize("name", ["sweep.gif", "sweep.webp"])
def test_the_sweep_goes_there_and_back(tmp_path: Path, name: str) -> None:
    write_sweep(tmp_path / name, sweep(), frame_seconds=0.1)
    seen, durations = [], []
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 6  # type: ignore[attr-defined]
        assert image.info["loop"] == 0
        for index in range(6):
            image.seek(index)
            image.load()
            seen.append(image.convert("RGB").getpixel((20, 15)))
            durations.append(image.info["duration"])
    expected = [frame.getpixel((0, 0)) for frame in sweep()]
    expected = [*expected, expected[2], expected[1]]
    assert np.abs(np.array(seen) - np.array(expected)).max() <= 2
    assert durations == [400, 100, 100, 400, 100, 100]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_still_parts_do_not_flicker_in_a_gif(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    frames = []
    for level in (0, 120, 255):
        changed = scene.copy()
        changed[:, 16:] = level
        frames.append(Image.fromarray(changed))
    write_sweep(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as image:
        shown = []
        for index in range(3):
            image.seek(index)
            shown.append(np.asarray(image.convert("RGB"))[:, :12].astype(int))
    assert np.abs(shown[0] - shown[1]).mean() < 8
    assert np.abs(shown[0] - shown[2]).mean() < 8


def test_two_images_go_to_and_fro(tmp_path: Path) -> None:
    write_sweep(tmp_path / "a.webp", sweep()[:2])
    with Image.open(tmp_path / "a.webp") as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]


def test_what_cannot_be_animated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.gif or \.webp"):
        check_sweep_output(tmp_path / "a.png")
    with pytest.raises(OptionError, match="time per frame"):
        write_sweep(tmp_path / "a.gif", sweep(), frame_seconds=float("nan"))
    with pytest.raises(ValueError):
        write_sweep(tmp_path / "a.gif", sweep()[:1])
    with pytest.raises(ValueError):
        write_sweep(tmp_path / "a.gif", [sweep()[0], Image.new("RGB", (9, 9))])
    assert list(tmp_path.iterdir()) == []
    write_sweep(tmp_path / "a.gif", sweep())
    with pytest.raises(OutputError, match="exists already"):
        write_sweep(tmp_path / "a.gif", sweep())
