"""A small vocabulary of driving words in CLIP's tokenizer format, made in code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"

# Each is one token. Anything else is spelt in pieces, at worst letter by letter.
DRIVING = """
clear clouds cloudy overcast rain rainy wet fog foggy mist snow snowy storm sunny fair weather sky dry falling
dawn day daytime dusk evening night morning afternoon noon late low sun dark bright light lights glare shadow
street road lane lanes highway motorway city urban town village country suburb crossroad crossroads junction
intersection roundabout crossing zebra toll plaza bridge tunnel kerb pavement sidewalk asphalt roadway marking
car cars truck trucks bus buses van train motorcycle bicycle cyclist rider person people pedestrian pedestrians
building buildings house houses wall fence pole vegetation tree trees terrain ground traffic sign signal cone
cones barrier debris obstacle box boxes vehicle vehicles parked parking lot red yellow green orange striped
photorealistic photo photograph picture painting oil watercolor sketch pop art line of cartoon drawing first
view top down high low angle eye level close up through from front rear side windscreen roof bumper cab camera
wide still level colour single street scene driving drive ahead looks along way left right straight
a an the in on at by with and under over of to no not is are it one two three four five many several few
""".split()


def words_of(texts: Iterable[str]) -> list[str]:
    """The words of ASCII letters in ``texts``, each once, in order of first appearance."""
    return list(dict.fromkeys(re.findall(r"[a-z]+", " ".join(texts).lower())))


def nano_tokenizer(texts: Iterable[str] = (), length: int = 32) -> CLIPTokenizer:
    """CLIP's tokenizer with DRIVING and the words of ``texts`` as whole tokens; pads and cuts to ``length``."""
    from transformers import CLIPTokenizer

    vocabulary, merges = _vocabulary(tuple(words_of([*DRIVING, *texts])))
    return CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges), model_max_length=length)


@lru_cache(maxsize=8)
def _vocabulary(words: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair merges (Sennrich et al. 2016) until every word is one token; ties go by the alphabet.

    The library's trainer is not used: its numbering of tokens differs from run to run.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for p in pieces.values() for pair in zip(p, p[1:], strict=False)):
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        pieces = {word: _merged(p, *merges[-1]) for word, p in pieces.items()}
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}, merges


def _merged(pieces: list[str], first: str, second: str) -> list[str]:
    out: list[str] = []
    for piece in pieces:
        if out and out[-1] == first and piece == second:
            out[-1] += piece
        else:
            out.append(piece)
    return out
