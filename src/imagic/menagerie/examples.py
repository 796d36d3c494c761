"""Pictures to begin with, one of each of Imagic's six groups of edits, drawn when they are asked for."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass

from PIL import Image

from imagic.core.images import to_rgb
from imagic.menagerie.edits import sample_edit
from imagic.menagerie.render import render

SIDE = 384  # pixels: three times the model's, as a photograph is larger than any model's
# Held-out edits, by the seed of each group: those of the folder examples/.
SEEDS = {"posture": 901, "composition": 3, "addition": 4, "colour": 4, "style": 0, "background": 3}


@dataclass(frozen=True)
class Example:
    """A picture and a sentence for it. name: the group of its edit."""

    name: str
    text: str
    source_text: str


def examples() -> tuple[Example, ...]:
    """One for each group."""
    edits = {name: sample_edit(seed, name, held_out=True) for name, seed in SEEDS.items()}
    return tuple(Example(name, edit.target_text, edit.source_text) for name, edit in edits.items())


@functools.cache
def example_png(name: str) -> bytes:
    """The picture of an example, as a file. Raises KeyError for another name."""
    scene = sample_edit(SEEDS[name], name, held_out=True).source
    file = io.BytesIO()
    Image.fromarray(to_rgb(render([scene], SIDE)[0])).save(file, "PNG", optimize=True)
    return file.getvalue()
