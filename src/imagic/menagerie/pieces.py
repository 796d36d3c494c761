"""The cascade's tokenizer, of T5's kind (Unigram, Kudo 2018): one piece for each word of the captions.

Any other word is spelt in letters; what is no letter is unknown.
"""

from __future__ import annotations

import string

from transformers import T5TokenizerFast

from imagic.menagerie.captions import vocabulary

# As many as diffusers' pipelines of this layout pad every text to.
TEXT_LENGTH = 77
# Log-probabilities: a word in one piece is likelier than any spelling of it.
WORD, SPACE, LETTER = -1.0, -2.0, -5.0


def build_pieces() -> T5TokenizerFast:
    """The same vocabulary gives the same ids."""
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", SPACE)]
    words = [(f"▁{word}", WORD) for word in sorted(vocabulary()) if len(word) > 1]
    letters = [(letter, LETTER) for letter in string.ascii_lowercase]
    return T5TokenizerFast(vocab=[*marks, *words, *letters], extra_ids=0, model_max_length=TEXT_LENGTH)
