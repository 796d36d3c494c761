"""Every method on the same picture: `python docs/gallery.py [GROUP ...]` edits the examples of groups (else posture) by
each method at its defaults, into docs/images/methods-GROUP.png. That takes many minutes on a CPU."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import imagic
from imagic.core import registry
from imagic.menagerie.edits import sample_edit
from imagic.menagerie.examples import SEEDS, example_png

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, TILE, GAP, LABEL = 4, 192, 8, 14


def pictures(group: str) -> Iterator[tuple[str, Image.Image]]:
    """The input, and what each method makes of it, with its name; without those that cannot work with this model."""
    edit = sample_edit(SEEDS[group], group, held_out=True)
    picture = Image.open(io.BytesIO(example_png(group)))
    model = imagic.load_model("menagerie")
    yield "input", picture
    for name in registry.names(registry.Group.METHODS):
        texts = registry.method(name).texts
        text = edit.instruction if "instruction" in texts else edit.target_text
        # What Imagic makes of a source text, which it does not need, is worth seeing.
        sources = [edit.source_text] if "source_text" in texts else ["", edit.source_text] if name == "imagic" else [""]
        for source_text in sources:
            label = name if len(sources) == 1 or not source_text else f"{name} --source"
            try:
                result = imagic.edit(picture, text, source_text=source_text, method=name, model=model)
            except imagic.ImagicError as error:
                sys.stderr.write(f"{label} is left out: {error}\n")
            else:
                yield label, result.images[0]


def grid(shown: list[tuple[str, Image.Image]]) -> Image.Image:
    """Labelled tiles, row by row."""
    height = TILE + LABEL + 2 * GAP
    sheet = Image.new("RGB", (COLUMNS * (TILE + GAP) - GAP, -(-len(shown) // COLUMNS) * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=LABEL)
    for index, (label, picture) in enumerate(shown):
        x, y = index % COLUMNS * (TILE + GAP), index // COLUMNS * height
        draw.text((x, y), label, fill="black", font=font)
        tile = picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(tile, (x, y + LABEL + GAP))
    return sheet


if __name__ == "__main__":
    for group in sys.argv[1:] or ["posture"]:
        grid(list(pictures(group))).save(ROOT / "docs" / "images" / f"methods-{group}.png", optimize=True)
