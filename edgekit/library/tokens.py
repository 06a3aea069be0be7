"""What a text costs in tokens, by a rule that needs no vocabulary.

Qwen's tokenizer first cuts a text into pieces (words with the sign before them, single digits, runs of
signs) and never merges across them: the number of pieces is the least that any such vocabulary can give.
The rule adds one for every further 8 letters of a word, since long ones fall apart, and takes three for every
four Chinese characters, since many words of two are one token. It is meant to be a little high, and is an
estimate: a caller that has the model's own tokenizer counts with that instead (``Selector(count=…)``).
"""

from __future__ import annotations

import math
import re

LETTERS = 8  # of one word, to a token
HAN = 0.75  # tokens to a Chinese character

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_PIECES = re.compile(
    rf"(?P<han>[{_HAN}])|(?P<word>[^\W\d_{_HAN}]+)|(?P<digit>\d)|(?P<signs>(?:[^\w\s]|_)+)|(?P<lines>\s*\n\s*)"
)


def tokens_of(text: str) -> int:
    """An estimate of the tokens that ``text`` takes in Qwen2.5's vocabulary; 0 for nothing."""
    total, han = 0, 0
    for piece in _PIECES.finditer(text):
        if piece.lastgroup == "han":
            han += 1
        else:
            total += 1 + ((len(piece.group()) - 1) // LETTERS if piece.lastgroup == "word" else 0)
    return total + math.ceil(HAN * han)
