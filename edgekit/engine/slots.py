"""Slot decoding: the answer's skeleton is given, only the values are the model's.

Exact greedy decoding under the answer's grammar, in few decoder passes: a whole answer is guessed
(the last frame's, say), one pass scores all of its tokens, the first value that the model would
not have written is replaced, and the pass is repeated until the guess stands. This is speculative
decoding (Leviathan et al. 2023) with the grammar's own draft; the fixed point is the greedy answer,
because each value was accepted given exactly the values before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, answer_pieces, coherent, to_answer

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Grammar:
    """Token ids of the skeleton and of every value.

    pieces: 12 id lists around the 11 values; values: per slot {value: ids}; end: the stop token.
    """

    pieces: tuple[tuple[int, ...], ...]
    values: tuple[dict[str, tuple[int, ...]], ...]
    end: int

    @classmethod
    def of(cls, encode: Encode, end: int) -> Grammar:
        """Builds it with a tokenizer's ``encode`` (no special tokens added).

        Raises UserError where pieces and values do not concatenate to the whole answer's tokens:
        the tokenisation is part of the label's contract.
        """
        pieces = tuple(tuple(encode(piece)) for piece in answer_pieces())
        values = tuple({v: tuple(encode(v)) for v in vs} for vs in SLOTS.values())
        grammar = cls(pieces, values, end)
        for slot, options in SLOTS.items():
            for value in options:
                guess = {s: v[-1] for s, v in SLOTS.items()} | {slot: value}
                text = _text(guess)
                if tuple(encode(text)) != tuple(grammar.tokens(guess)[:-1]):
                    raise UserError(
                        f"this tokenizer does not keep the answer's pieces apart at {slot}={value}",
                        f"{len(encode(text))} tokens as a whole, {len(grammar.tokens(guess)) - 1} in pieces",
                        "use the nano tokenizer or Qwen2.5's own vocabulary",
                    )
        return grammar

    def tokens(self, guess: dict[str, str]) -> list[int]:
        """The answer's ids for slot values, the end token included."""
        out: list[int] = []
        for i, slot in enumerate(SLOTS):
            out += self.pieces[i]
            out += self.values[i][guess[slot]]
        return [*out, *self.pieces[-1], self.end]

    def spans(self, guess: dict[str, str]) -> dict[str, tuple[int, int]]:
        """Where each slot's value tokens stand in ``tokens(guess)``: [first, last)."""
        out, at = {}, 0
        for i, slot in enumerate(SLOTS):
            at += len(self.pieces[i])
            out[slot] = (at, at + len(self.values[i][guess[slot]]))
            at = out[slot][1]
        return out


def _text(guess: dict[str, str]) -> str:
    out = ""
    for piece, slot in zip(answer_pieces(), SLOTS, strict=False):
        out += piece + guess[slot]
    return out + answer_pieces()[-1]


def first_guess() -> dict[str, str]:
    """A draft where there is no last answer."""
    return {slot: options[0] for slot, options in SLOTS.items()}


def verify(
    grammar: Grammar, guess: dict[str, str], logits: np.ndarray
) -> tuple[dict[str, str], dict[str, float], bool]:
    """Holds a guess against the model's own choice.

    logits: (len(tokens(guess)), V); row k scores token k, given the prompt and the tokens before.
    Returns the mended guess, the confidence per slot decided so far, and whether it stands.
    Values after the first wrong one are mended too: a better draft, checked by the next pass.
    """
    mended, sure, stands = dict(guess), {}, True
    for i, (slot, (first, _)) in enumerate(grammar.spans(guess).items()):
        prefix: tuple[int, ...] = ()
        written = grammar.values[i][guess[slot]]
        after = grammar.pieces[i + 1][0]
        probability = 1.0
        while True:
            open_values = [(v, t) for v, t in grammar.values[i].items() if t[: len(prefix)] == prefix]
            following = {t[len(prefix)] if len(t) > len(prefix) else after for _, t in open_values}
            choices = sorted(following)
            row = logits[first + len(prefix), choices].astype(np.float64)
            best = int(np.argmax(row))
            probability *= float(1.0 / np.exp(row - row[best]).sum())
            token = choices[best]
            whole = next((v for v, t in open_values if t == prefix), None)
            if token == after and whole is not None:
                mended[slot] = whole
                stands = stands and whole == guess[slot]
                break
            prefix = (*prefix, token)
            if written[: len(prefix)] != prefix:
                # Beyond this token the rows were scored on another prefix: draft, and look again.
                mended[slot] = next(v for v, t in open_values if t[: len(prefix)] == prefix)
                stands = False
                break
        sure[slot] = probability
    return mended, sure, stands


def decode(
    grammar: Grammar,
    score: Callable[[list[list[int]], Sequence[int]], list[np.ndarray]],
    drafts: list[dict[str, str]],
) -> list[tuple[dict[str, str], dict[str, float], int]]:
    """Greedy answers for a batch: (values, confidence, passes) each.

    score(tokens, which) runs the model on answers ``tokens`` of the batch members ``which`` and
    returns logits as ``verify`` wants them.
    """
    guesses, done = [dict(d) for d in drafts], [False] * len(drafts)
    sure: list[dict[str, float]] = [{} for _ in drafts]
    passes = [0] * len(drafts)
    # Each pass settles at least one more token of the answer.
    for _ in range(sum(max(len(t) for t in v.values()) for v in grammar.values) + 1):
        which = [i for i, d in enumerate(done) if not d]
        if not which:
            break
        rows = score([grammar.tokens(guesses[i]) for i in which], which)
        for i, logits in zip(which, rows, strict=True):
            guesses[i], sure[i], done[i] = verify(grammar, guesses[i], logits)
            passes[i] += 1
    return list(zip(guesses, sure, passes, strict=True))


def answer_of(values: dict[str, str]):
    """(text, label) of decoded values: they are made a coherent label, and the text says that label."""
    label = coherent(values)
    return to_answer(label), label
