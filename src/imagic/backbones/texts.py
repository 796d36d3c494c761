"""One text encoder with its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from imagic.backbones.placement import Place
from imagic.backbones.words import report_text
from imagic.core.errors import ModelError
from imagic.core.types import TextReport


class TextEncoder:
    """module: CLIP or T5, taken over. tokenizer: its own. limit: of tokens per text, see `text_length`. masked: the
    encoder itself does not see the padding; None where its config says so."""

    def __init__(
        self, module: nn.Module, tokenizer: Any, place: Place, limit: int | None = None, *, masked: bool | None = None
    ) -> None:
        self.module, self.tokenizer, self._place = module, tokenizer, place
        self._masked = masked
        rows = module.get_input_embeddings().num_embeddings  # type: ignore[operator]
        if len(tokenizer) > rows:
            raise ModelError(
                f"The tokenizer gives out {len(tokenizer)} tokens, of which its text encoder knows {rows}: they are not"
                " of one model."
            )
        self.length = text_length(module, tokenizer, limit)
        place.settle(module)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], **keywords: Any) -> Any:
        """The encoder's own output for the texts, padded and cut to `length`. keywords: for the encoder."""
        tokens = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).to(self._place.device)
        # Denoisers attend to the padding as in their training, whether or not the encoder does.
        masked = getattr(self.module.config, "use_attention_mask", False) if self._masked is None else self._masked
        with self._place.using(self.module):
            return self.module(tokens.input_ids, attention_mask=tokens.attention_mask if masked else None, **keywords)

    def report(self, text: str) -> TextReport:
        return report_text(self.tokenizer, text, self.length)


def text_length(module: nn.Module, tokenizer: Any, limit: int | None = None) -> int:
    """Tokens per text, marks included: as many as the encoder has positions (T5 has any number) and the tokenizer gives
    out, and no more than `limit`. A tokenizer saved without a limit claims to have none."""
    positions = getattr(module.config, "max_position_embeddings", None)
    return int(min(each for each in (tokenizer.model_max_length, positions, limit) if each is not None))


def seen_by_none(reports: Sequence[TextReport]) -> TextReport:
    """What several encoders of one text together do not see: words unknown to each, and the shortest end cut off."""
    unknown = tuple(word for word in reports[0].unknown_words if all(word in each.unknown_words for each in reports))
    return TextReport(unknown, min((each.cut for each in reports), key=len))
