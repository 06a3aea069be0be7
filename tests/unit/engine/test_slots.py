"""Slot decoding against the plain definition: token by token, the best token that the grammar allows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.label import SLOTS, coherent
from edgekit.engine.slots import Grammar, answer_of, decode, first_guess, verify
from edgekit.models.tokenizer import grammar_of, nano_tokenizer

GRAMMAR = grammar_of(nano_tokenizer())
# Logits are drawn for these ids only; the others can never be chosen.
USED = sorted({t for v in GRAMMAR.values for ids in v.values() for t in ids} | {p[0] for p in GRAMMAR.pieces})


class Table:
    """A language model that is a random table: the logits hang on every token before them."""

    def __init__(self, seed: int, loudness: float):
        self.seed, self.loudness, self.rows = seed, loudness, {}

    def row(self, prefix: tuple[int, ...]) -> np.ndarray:
        if prefix not in self.rows:
            draw = np.random.default_rng([self.seed, *prefix])
            row = np.full(2048, -30.0, dtype=np.float32)
            row[USED] = draw.normal(size=len(USED)) * self.loudness
            self.rows[prefix] = row
        return self.rows[prefix]

    def score(self, tokens: list[int]) -> np.ndarray:
        return np.stack([self.row(tuple(tokens[:k])) for k in range(len(tokens))])


def plain_greedy(grammar: Grammar, table: Table) -> tuple[dict[str, str], dict[str, float]]:
    written: tuple[int, ...] = ()
    values, sure = {}, {}
    for i, slot in enumerate(SLOTS):
        written += grammar.pieces[i]
        start, sure[slot] = len(written), 1.0
        while True:
            prefix = written[start:]
            open_values = {v: t for v, t in grammar.values[i].items() if t[: len(prefix)] == prefix}
            allowed = {
                t[len(prefix)] if len(t) > len(prefix) else grammar.pieces[i + 1][0]
                for t in open_values.values()
            }
            row = table.row(written).astype(np.float64)
            token = max(sorted(allowed), key=lambda t: row[t])
            sure[slot] *= np.exp(row[token]) / sum(np.exp(row[t]) for t in allowed)
            if token == grammar.pieces[i + 1][0] and prefix in open_values.values():
                values[slot] = next(v for v, t in open_values.items() if t == prefix)
                break
            written += (token,)
    return values, sure


drafts = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()})


@settings(max_examples=25, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=2),
    draft=drafts,
    loudness=st.sampled_from([0.1, 1, 5]),
)
def test_decode_is_plain_greedy_whatever_the_draft(seeds, draft, loudness):
    tables = [Table(seed, loudness) for seed in seeds]

    def score(tokens, which):
        assert len(tokens) == len(which)
        return [tables[i].score(t) for t, i in zip(tokens, which, strict=True)]

    found = decode(GRAMMAR, score, [draft for _ in tables])
    for table, (values, sure, passes) in zip(tables, found, strict=True):
        want, want_sure = plain_greedy(GRAMMAR, table)
        assert values == want
        assert sure == pytest.approx(want_sure, rel=1e-6)
        assert passes >= 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_right_draft_takes_one_pass(seed):
    table = Table(seed, 1.0)
    want, _ = plain_greedy(GRAMMAR, table)
    ((values, _, passes),) = decode(GRAMMAR, lambda tokens, _: [table.score(t) for t in tokens], [want])
    assert (values, passes) == (want, 1)


def test_a_wrong_draft_does_not_stand():
    table = Table(7, 1.0)
    want, _ = plain_greedy(GRAMMAR, table)
    wrong = want | {"cones": next(v for v in SLOTS["cones"] if v != want["cones"])}
    mended, _, stands = verify(GRAMMAR, wrong, table.score(GRAMMAR.tokens(wrong)))
    assert not stands and mended["cones"] == want["cones"]


def test_spans_point_at_the_values():
    tokenizer = nano_tokenizer()
    guess = first_guess() | {"recommended_speed_kmh": "105", "obstacle": "stopped_vehicle"}
    tokens = GRAMMAR.tokens(guess)
    for slot, (first, last) in GRAMMAR.spans(guess).items():
        assert tokenizer.decode(tokens[first:last]) == guess[slot]
    assert tokens[-1] == tokenizer.token_to_id("<|im_end|>")


@given(draft=drafts)
def test_the_answer_says_what_the_label_says(draft):
    text, label = answer_of(draft)
    assert label == coherent(draft) and label.model_dump()["cones"] == draft["cones"] and text.startswith("{")
