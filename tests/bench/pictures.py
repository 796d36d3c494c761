"""Picture files and lists of edits for the suites that users bring."""

import json

import numpy as np
from PIL import Image


def picture(path, width=16, height=16, colour=(64, 128, 192), format=None):
    """A picture of one colour; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if len(colour) == 3 else "RGBA", (width, height), colour).save(path, format)
    return path


def columns(path, width, height):
    """A grey picture whose column x has the level x; returns its path."""
    levels = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None], (height, width, 3))
    Image.fromarray(levels.copy()).save(path)
    return path


def json_lines(path, *edits):
    path.write_text("".join(f"{json.dumps(edit)}\n" for edit in edits))
    return path
