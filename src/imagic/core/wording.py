"""A text as a model's tokens: where its words stand, and where its padding begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from imagic.core.types import Backbone, Token


@dataclass(frozen=True)
class Wording:
    """A text and what stands at each position of its conditioning: a mark, the text, a mark, padding."""

    text: str
    tokens: Sequence[Token]

    @staticmethod
    def of(backbone: Backbone, text: str) -> Wording:
        return Wording(text, backbone.tokens(text))

    @property
    def end(self) -> int:
        """The position of the mark that ends the text; where no room is left for one, the last position."""
        return min(max((i for i, t in enumerate(self.tokens) if t.end > t.start), default=0) + 1, len(self.tokens) - 1)

    def words(self) -> list[list[int]]:
        """The positions of each blank-separated word; none for a word that the model cuts off."""
        return [self._within(*match.span()) for match in re.finditer(r"\S+", self.text)]

    def find(self, phrase: str) -> list[int]:
        """The positions of a word or phrase, wherever it stands in the text; capitals make no difference."""
        pattern = rf"(?<!\w){re.escape(phrase.strip())}(?!\w)"
        matches = re.finditer(pattern, self.text, re.IGNORECASE)
        return [position for match in matches for position in self._within(*match.span())]

    def _within(self, start: int, end: int) -> list[int]:
        return [i for i, token in enumerate(self.tokens) if token.start < end and token.end > start]
