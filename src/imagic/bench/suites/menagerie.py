"""The bundled model's world: held-out scenes, edits whose true result is rendered, and the judge shipped with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagic.bench.types import Item, Judge, Pictures
from imagic.core.types import Backbone
from imagic.menagerie.edits import Edit, held_out_edits, training_edits
from imagic.menagerie.facts import facts
from imagic.menagerie.judge import load_judge
from imagic.menagerie.render import render

DEFAULT_LIMIT = 120  # 20 per group


@dataclass(frozen=True)
class Menagerie:
    """Edits of the menagerie; `seed` selects them, and selections never share a folder of results.

    held_out: scenes that no network has been trained on; defaults are tuned on the others.
    """

    limit: int | None = None
    seed: int = 0
    held_out: bool = True

    @property
    def name(self) -> str:
        return f"menagerie{'' if self.held_out else ' (training scenes)'}, selection {self.seed}"

    def items(self) -> Sequence[Item]:
        limit = DEFAULT_LIMIT if self.limit is None else self.limit
        edits = held_out_edits if self.held_out else training_edits
        return [_item(edit) for edit in edits(limit, self.seed)]

    def judge(self) -> Judge:
        return load_judge()


def _item(edit: Edit) -> Item:
    def pictures(backbone: Backbone) -> Pictures:
        size, device = backbone.image_size, backbone.device
        source, truth = render([edit.source, edit.truth], size, device)
        return Pictures(source, truth, edit.mask(size, device))

    return Item(
        name=edit.item,
        group=edit.group,
        target_text=edit.target_text,
        source_text=edit.source_text,
        source_facts=facts(edit.source),
        truth_facts=facts(edit.truth),
        render=pictures,
        instruction=edit.instruction,
    )
