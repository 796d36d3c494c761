"""Many candidates at one glance: a labelled contact sheet of strength x seed, and a sweep that moves there and back.

The input and the model's reconstruction of it come first, since every candidate is to be judged against both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from imagic.core.declaration import PNG_KEY, Declaration
from imagic.core.errors import OptionError, OutputError
from imagic.core.files import check_writable, replacing
from imagic.core.images import MAX_PIXELS, to_rgb
from imagic.core.types import Candidate

_GAP = 8
_LABEL = 14  # font size in pixels
_INK, _PAPER, _MARK = (32, 32, 32), (255, 255, 255), (214, 92, 32)


def contact_sheet(
    candidates: Sequence[Candidate],
    input: Tensor,
    reconstruction: Tensor,
    strength_name: str = "eta",
    chosen: Candidate | None = None,
    max_cell: int = 256,
) -> Image.Image:
    """An RGB image with one row per seed and one column per strength, both rising.

    candidates: at least one; of several with one strength and seed the last is shown, and a pair without a candidate
    stays blank. input, reconstruction: (3, H, W) in [-1, 1], shown before the first row's candidates. chosen: framed in
    colour. max_cell: pictures with a longer side are shrunk to this many pixels. Raises OptionError if the sheet would
    exceed 64 megapixels.
    """
    strengths = sorted({candidate.strength for candidate in candidates})
    seeds = sorted({candidate.seed for candidate in candidates})
    if not seeds:
        raise ValueError("a contact sheet needs a candidate")
    font = ImageFont.load_default(size=_LABEL)
    rows = [f"seed {seed}" for seed in seeds]
    columns = ["input", "reconstruction", *(f"{strength_name} {strength:.4g}" for strength in strengths)]

    height, width = input.shape[-2:]
    scale = min(1.0, max_cell / max(height, width))
    cell_width, cell_height = max(1, round(width * scale)), max(1, round(height * scale))
    column = max(cell_width, *(round(font.getlength(label)) for label in columns)) + _GAP
    row = max(cell_height, 2 * _LABEL) + _GAP
    left = max(round(font.getlength(label)) for label in rows) + 2 * _GAP
    top = _LABEL + 2 * _GAP
    size = (left + column * len(columns), top + row * len(rows))
    if size[0] * size[1] > MAX_PIXELS:
        raise OptionError(
            f"A contact sheet of {len(rows)} x {len(columns)} is too large; use fewer seeds or strengths."
        )

    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, label in enumerate(columns):
        draw.text((left + column * index, _GAP), label, fill=_INK, font=font)
    for index, label in enumerate(rows):
        draw.text((_GAP, top + row * index), label, fill=_INK, font=font)

    def place(image: Tensor, row_index: int, column_index: int) -> tuple[int, int]:
        corner = (left + column * column_index, top + row * row_index)
        picture = Image.fromarray(to_rgb(image))
        sheet.paste(picture.resize((cell_width, cell_height), Image.Resampling.LANCZOS), corner)
        return corner

    place(input, 0, 0)
    place(reconstruction, 0, 1)
    for candidate in candidates:
        place(candidate.image, seeds.index(candidate.seed), 2 + strengths.index(candidate.strength))
    if chosen is not None and chosen.seed in seeds and chosen.strength in strengths:
        x = left + column * (2 + strengths.index(chosen.strength))
        y = top + row * seeds.index(chosen.seed)
        draw.rectangle((x - 3, y - 3, x + cell_width + 2, y + cell_height + 2), outline=_MARK, width=3)
    return sheet


def write_sheet(
    path: str | os.PathLike[str], sheet: Image.Image, overwrite: bool = False, declaration: Declaration | None = None
) -> None:
    """A contact sheet as a PNG file, atomically. declaration: of its pictures, None for none.

    Raises OutputError, also if the path does not end in .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise OutputError(f"{Path(path).name} must end in .png.")
    texts = PngImagePlugin.PngInfo()
    if declaration is not None:
        texts.add_itxt(PNG_KEY, declaration.packet().decode())
    with replacing(path, overwrite) as part:
        sheet.save(part, "PNG", pnginfo=texts)


def check_sweep_output(path: str | os.PathLike[str], overwrite: bool = False) -> str:
    """Pillow's format name for an animation's path; call it before expensive work. Raises OutputError."""
    format = {".gif": "GIF", ".webp": "WEBP"}.get(check_writable(path, overwrite).suffix.lower())
    if format is None:
        raise OutputError(f"{Path(path).name} must end in .gif or .webp.")
    return format


def write_sweep(
    path: str | os.PathLike[str],
    images: Sequence[Image.Image],
    frame_seconds: float = 0.15,
    overwrite: bool = False,
    declaration: Declaration | None = None,
) -> None:
    """An endless animation through the images and back, as GIF or lossless WebP by the path's ending; atomically.

    images: at least two, of one size. frame_seconds: 0.02 to 10; both ends stay four times as long. declaration: what
    the file says, as XMP or as a GIF's comment; None for nothing.
    Raises OutputError as `check_sweep_output`, OptionError for frame_seconds out of range.
    """
    format = check_sweep_output(path, overwrite)
    if not 0.02 <= frame_seconds <= 10:
        raise OptionError(f"The time per frame must lie between 0.02 and 10 seconds, not {frame_seconds}.")
    if len(images) < 2 or len({image.size for image in images}) > 1:
        raise ValueError("a sweep needs at least two images of one size")
    there = [image.convert("RGB") for image in images]
    frames = there + there[-2:0:-1]
    tick = round(1000 * frame_seconds)
    durations = [tick] * len(frames)
    durations[0] = durations[len(there) - 1] = 4 * tick
    if format == "GIF":
        palette = _shared_palette(there)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames]
    with replacing(path, overwrite) as part:
        first, rest = frames[0], frames[1:]
        more: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
        if declaration is not None:
            more |= {"xmp": declaration.packet()} if format == "WEBP" else {"comment": declaration.sentence.encode()}
        first.save(part, format, save_all=True, append_images=rest, duration=durations, loop=0, **more)


def _shared_palette(images: Sequence[Image.Image]) -> Image.Image:
    """256 colours for all frames together: with a palette each, still areas would flicker."""
    thumbs = [
        image.resize((min(image.width, 128), min(image.height, 128)), Image.Resampling.NEAREST) for image in images
    ]
    strip = Image.new("RGB", (thumbs[0].width, thumbs[0].height * len(thumbs)))
    for index, thumb in enumerate(thumbs):
        strip.paste(thumb, (0, thumbs[0].height * index))
    return strip.quantize(256, method=Image.Quantize.MEDIANCUT)
