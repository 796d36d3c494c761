"""Draws the inputs in examples/ and makes the pictures of the README: one edit in each of Imagic's six groups.

python examples/pictures.py inputs          # examples/*.png, from the renderer
python examples/pictures.py edits [GROUP]   # docs/images/*.png, with the bundled model (some minutes on a CPU)
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import imagic
from imagic.menagerie.edits import GROUPS, sample_edit
from imagic.menagerie.examples import SEEDS, example_png

ROOT = Path(__file__).parent.parent
TILE = 160  # pixels of a picture in a strip
SHOWN = (0.0, 0.4, 0.6, 0.8, 1.0)  # strengths in a strip


def example(group: str) -> Path:
    """The input of a group's edit."""
    return ROOT / "examples" / f"{'dog' if group == 'posture' else group}.png"


def draw_inputs() -> None:
    """Writes the inputs."""
    for group in SEEDS:
        example(group).write_bytes(example_png(group))


def make_edit(group: str) -> None:
    """Edits a group's input and writes the strip: input, renderings along eta, result."""
    text = sample_edit(SEEDS[group], group, held_out=True).target_text
    fitted = imagic.fit(example(group), text)
    result = imagic.edit(fitted)
    along = imagic.edit(fitted, eta=SHOWN)
    pictures = [Image.open(example(group)), *along.images, result.images[0]]
    strip = Image.new("RGB", (TILE * len(pictures) + 8 * (len(pictures) - 1), TILE), "white")
    for index, picture in enumerate(pictures):
        strip.paste(picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS), (index * (TILE + 8), 0))
    folder = ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    strip.save(folder / f"{group}.png", optimize=True)
    print(f"{group}: '{text}' at eta {result.etas[0]:.2f}")
    if group == "posture":
        result.sheet(folder / "sweep.png", overwrite=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["inputs"]:
            draw_inputs()
        case ["edits", *groups]:
            for name in groups or GROUPS:
                make_edit(name)
        case _:
            sys.exit(__doc__)
