"""Training pairs: a scene and what an edit makes of it, side by side. They differ in the facts that the edit changes.

Edits of all groups take turns, and no scene shows a held-out combination of facts.
"""

from __future__ import annotations

from imagic.menagerie.edits import GROUPS, sample_edit
from imagic.menagerie.scenes import Scene
from imagic.menagerie.training.shards import Group

PAIR = 2  # scenes


def pair(number: int) -> list[Scene]:
    """The source and the truth of a training edit."""
    edit = sample_edit(number // len(GROUPS), GROUPS[number % len(GROUPS)])
    return [edit.source, edit.truth]


PAIRS = Group("edits", pair, PAIR)
