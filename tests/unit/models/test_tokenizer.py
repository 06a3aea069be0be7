"""The answer's tokenisation is part of the contract: pieces and values keep apart, in both vocabularies."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, answer_pieces, coherent, to_answer
from edgekit.models.tokenizer import PLAIN, SPECIAL, VOCAB, grammar_of, nano_tokenizer, qwen_tokenizer, train

MERGES = Path(__file__).with_name("qwen_answer_merges.json")
NANO = nano_tokenizer()


def qwen_part() -> Tokenizer:
    """Qwen2.5's own BPE, cut down to what answer strings need; ids are Qwen's."""
    kept = json.loads(MERGES.read_text())
    tokenizer = qwen_tokenizer(models.BPE(vocab=kept["vocab"], merges=[tuple(m) for m in kept["merges"]]))
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", special=True, normalized=False)])
    return tokenizer


@pytest.mark.parametrize("make", [nano_tokenizer, qwen_part])
def test_pieces_and_values_concatenate_for_every_value(make):
    tokenizer = make()
    grammar = grammar_of(tokenizer)  # raises where they do not
    for slot, options in SLOTS.items():
        for value in options:
            guess = {s: v[-1] for s, v in SLOTS.items()} | {slot: value}
            assert tokenizer.decode(grammar.tokens(guess)[:-1]) == "".join(
                piece + guess.get(name, "") for piece, name in zip(answer_pieces(), [*SLOTS, ""], strict=True)
            )


@pytest.mark.parametrize("tokenizer", [NANO, qwen_part()], ids=["nano", "qwen"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_whole_answers_are_their_grammar_tokens(tokenizer, data):
    label = coherent({slot: data.draw(st.sampled_from(values)) for slot, values in SLOTS.items()})
    want = grammar_of(tokenizer).tokens({slot: getattr(label, slot) for slot in SLOTS})[:-1]
    assert tokenizer.encode(to_answer(label), add_special_tokens=False).ids == want


def test_qwen_segmentation_is_qwens():
    # Read off Qwen2.5's full vocabulary once (151,643 BPE ids).
    tokens = qwen_part().encode('","other_straight":"stopped_vehicle","recommended_speed_kmh":"120"').tokens
    assert tokens == [
        '","', "other", "_str", "aight", '":"', "stopped", "_vehicle", '","',
        "recommended", "_speed", "_k", "mh", '":"', "1", "2", "0", '"',
    ]  # fmt: skip


def test_a_tokenizer_that_glues_values_to_quotes_is_refused():
    letters = sorted({c for p in [*answer_pieces(), *(v for o in SLOTS.values() for v in o)] for c in p})
    vocab = {c: i for i, c in enumerate([*letters, 'o"'])}
    glued = Tokenizer(models.BPE(vocab=vocab, merges=[("o", '"')]))
    glued.add_special_tokens(["<|im_end|>"])
    with pytest.raises(UserError, match="pieces apart"):
        grammar_of(glued)


def test_every_word_between_split_points_is_one_token():
    tokenizer = nano_tokenizer()
    for options in SLOTS.values():
        for value in options:
            words = list(value) if value.isdigit() else value.split("_")
            assert len(tokenizer.encode(value).ids) == len(words), value


def test_vocabulary_is_laid_out_as_qwens():
    tokenizer = nano_tokenizer()
    assert tokenizer.get_vocab_size() == VOCAB
    first = VOCAB - len(SPECIAL) - len(PLAIN)
    assert [tokenizer.id_to_token(first + i) for i in range(22)] == [*SPECIAL, *PLAIN]


@given(st.text(max_size=80))
@settings(deadline=None)
def test_any_text_survives(text):
    text = "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF)
    ids = NANO.encode(text).ids
    assert NANO.decode(ids, skip_special_tokens=False) == unicodedata.normalize("NFC", text)


def test_training_again_gives_the_shipped_file():
    assert json.loads(train().to_str()) == json.loads(nano_tokenizer().to_str())
