"""The bundled model's tokenizer: CLIP's byte-level BPE (Radford et al. 2021), one token for each word of the captions.

Any other word is spelt in pieces, down to single bytes, so every text has tokens and comes back from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from transformers import CLIPTokenizer

from imagic.backbones.words import WORD_LEVEL
from imagic.menagerie.captions import MAX_WORDS, vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
TEXT_LENGTH = MAX_WORDS + 2  # tokens, the two marks included

Merge = tuple[str, str]


def build_tokenizer(words: Sequence[str] | None = None) -> CLIPTokenizer:
    """The tokenizer of the captions' vocabulary, or of other lower-case words made of ASCII letters.

    The same words give the same ids, in any order: bytes, bytes that end a word, merged pieces, and the two marks.
    """
    letters = byte_letters()
    merges = word_merges(sorted(set(vocabulary() if words is None else words)))
    pieces = [*letters, *(letter + WORD_END for letter in letters), *(left + right for left, right in merges)]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys((*pieces, START, END)))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TEXT_LENGTH, **{WORD_LEVEL: True})


def byte_letters() -> list[str]:
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others are moved above them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = range(256, 512 - len(printable))
    return [chr(code) for code in (*printable, *moved)]


def word_merges(words: Sequence[str]) -> list[Merge]:
    """Merges, first to last, that bring each of `words` to one token.

    Word by word: what the merges so far leave in pieces is joined from its beginning. Later merges rank behind the
    earlier ones, so they never disturb an earlier word; and no piece ends a word but the words themselves.
    """
    ranks: dict[Merge, int] = {}
    for word in words:
        while len(pieces := _merged(word, ranks)) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def _merged(word: str, ranks: dict[Merge, int]) -> list[str]:
    """The pieces of a word after BPE: again and again, the pair of lowest rank becomes one piece."""
    pieces = [*word[:-1], word[-1] + WORD_END]
    while len(pieces) > 1:
        pairs = list(pairwise(pieces))
        first = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], len(ranks)))
        if pairs[first] not in ranks:
            break
        pieces[first : first + 2] = ["".join(pairs[first])]
    return pieces
