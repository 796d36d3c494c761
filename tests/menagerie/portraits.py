"""A few fixed scenes as facts and thumbnails: a portrait of the world, against which an accidental change is noticed.

Models are trained on the world as it is drawn. After a deliberate change, `python -m tests.menagerie.portraits` draws
the stored portraits anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch.nn.functional as F

from imagic.menagerie.facts import facts
from imagic.menagerie.render import render
from imagic.menagerie.sampling import sample_scene

STORED = Path(__file__).with_name("portraits.json")
# (seed, held out): between them all places, skies, styles, relations, patterns, clothes, accents, things and postures,
# and every species in a posture that shows the length of its legs.
SCENES = (
    (727, False),
    (1503, False),
    (6, True),
    (929, False),
    (1261, False),
    (272, True),
    (1847, True),
    (645, False),
    (1270, False),
    (1132, False),
)
SIDE = 64  # of the picture, in pixels
LEVELS = 1000  # a thumbnail's numbers are thousandths of full brightness


def portraits() -> list[dict[str, Any]]:
    """Of each scene its seed, its facts and a thumbnail: 3 x 8 x 8 averages over squares, in row order."""
    drawn = []
    for seed, held_out in SCENES:
        scene = sample_scene(seed, held_out=held_out)
        picture = (render([scene], SIDE) + 1) / 2
        thumbnail = (F.avg_pool2d(picture, SIDE // 8) * LEVELS).round().int().flatten().tolist()
        drawn.append({"seed": seed, "held_out": held_out, "facts": facts(scene), "thumbnail": thumbnail})
    return drawn


if __name__ == "__main__":
    STORED.write_text("[\n" + ",\n".join(json.dumps(portrait) for portrait in portraits()) + "\n]\n", encoding="utf-8")
