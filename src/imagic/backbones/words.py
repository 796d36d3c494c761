"""What a tokenizer of CLIP or T5 will make of a text: words it does not know, and where a long text is cut."""

from __future__ import annotations

import re
from typing import Any

from transformers import CLIPTokenizer

from imagic.core.types import TextReport, Token

# A tokenizer whose tokenizer_config.json says so has one token per known word and spells other words byte by byte: a
# spelt word carries no meaning. An ordinary CLIP vocabulary composes words from learned pieces, so none is unknown.
WORD_LEVEL = "word_level"


def report_text(tokenizer: Any, text: str, length: int) -> TextReport:
    """length: the tokens that the text encoder takes, its start and end marks included."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    room = length - tokenizer.num_special_tokens_to_add()
    offsets = encoded["offset_mapping"]
    cut = text[offsets[room][0] :].lstrip() if len(offsets) > room else ""
    unknown = {span for token, span in zip(encoded["input_ids"], offsets, strict=True) if token == _unknown(tokenizer)}
    holes = [
        word.group()
        for word in re.finditer(r"\S+", text)
        if any(word.start() < end and start < word.end() for start, end in unknown)
    ]
    return TextReport(tuple(dict.fromkeys(holes)) or _unknown_words(tokenizer, text), cut)


def tokens(tokenizer: CLIPTokenizer, text: str, length: int) -> tuple[Token, ...]:
    """What the text encoder sees at each of its `length` positions: marks, the text as far as it fits, padding."""
    encoded = tokenizer(text, padding="max_length", truncation=True, max_length=length, return_offsets_mapping=True)
    pieces = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    return tuple(Token(piece, *span) for piece, span in zip(pieces, encoded["offset_mapping"], strict=True))


def _unknown(tokenizer: Any) -> int | None:
    """The token for characters that are not in the vocabulary, as T5 has. CLIP knows every byte and calls its end mark
    so."""
    return None if tokenizer.unk_token_id == tokenizer.eos_token_id else tokenizer.unk_token_id


def _unknown_words(tokenizer: CLIPTokenizer, text: str) -> tuple[str, ...]:
    """The words, in order and once each, that are not one token of a word-level vocabulary."""
    if not tokenizer.init_kwargs.get(WORD_LEVEL, False):
        return ()
    engine: Any = tokenizer.backend_tokenizer
    normal = engine.normalizer.normalize_str(text)
    words = [normal[start:end] for _, (start, end) in engine.pre_tokenizer.pre_tokenize_str(normal)]
    spelt = [w for w in words if any(c.isalnum() for c in w) and len(tokenizer.tokenize(w)) > 1]
    return tuple(dict.fromkeys(spelt))
