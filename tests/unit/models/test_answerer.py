"""Slot decoding on the cached prefix = constrained greedy decoding token by token with full forwards."""

import numpy as np
import pytest
import torch

from edgekit.core.label import SLOTS, coherent, to_answer
from edgekit.engine.answerer import Answerer
from edgekit.engine.chat import prompt_ids
from edgekit.engine.pixels import pixel_values
from edgekit.models.answerer import TorchAnswerer
from edgekit.models.checkpoint import load_checkpoint
from edgekit.models.nano import WINDOWED_CONTRACT

PROMPTS = ["What is ahead?", "前方是什么？", "What is ahead?", "Look at the road ahead and answer in JSON."]


@pytest.fixture(scope="module")
def answerer(checkpoint):
    return TorchAnswerer(load_checkpoint(checkpoint), batch=3)


def next_logits(answerer, image, ids):
    """Logits after ``ids`` by the model's own forward: its rope index, no cache of ours."""
    pixels, grids = pixel_values([image], WINDOWED_CONTRACT)
    tokens = torch.tensor([ids])
    pads = tokens == answerer.model.config.image_token_id
    with torch.no_grad():
        return answerer.model(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            mm_token_type_ids=pads.int(),
            pixel_values=torch.from_numpy(pixels),
            image_grid_thw=torch.from_numpy(grids),
            use_cache=False,
        ).logits[0, -1]


def slow_answer(answerer, image, prompt):
    """Greedy values, each token the best of those that the vocabulary allows."""
    grammar = answerer.grammar
    ids, values, sure = prompt_ids(prompt, WINDOWED_CONTRACT, answerer.tokenizer), {}, {}
    for i, slot in enumerate(SLOTS):
        ids = [*ids, *grammar.pieces[i]]
        prefix, sure[slot] = (), 1.0
        while slot not in values:
            allowed = {}
            for value, tokens in grammar.values[i].items():
                if tokens[: len(prefix)] == prefix:
                    allowed[
                        tokens[len(prefix)] if len(tokens) > len(prefix) else grammar.pieces[i + 1][0]
                    ] = value
            row = next_logits(answerer, image, [*ids, *prefix])
            best = max(allowed, key=lambda token: row[token].item())
            sure[slot] *= torch.softmax(row[list(allowed)].double(), 0)[list(allowed).index(best)].item()
            if grammar.values[i].get(allowed[best]) == prefix and best == grammar.pieces[i + 1][0]:
                values[slot] = allowed[best]
            else:
                prefix = (*prefix, best)
        ids = [*ids, *prefix]
    return values, sure


def test_equals_slow_constrained_greedy(answerer, frames):
    fast = answerer.answer(frames, PROMPTS)
    texts = set()
    for image, prompt, answer in list(zip(frames, PROMPTS, fast, strict=True))[1:]:
        values, sure = slow_answer(answerer, image, prompt)
        assert answer.label == coherent(values)
        assert answer.text == to_answer(answer.label)
        for slot in SLOTS:
            assert answer.confidence[slot] == pytest.approx(sure[slot], abs=1e-4)
        texts.add(answer.text)
    assert len(texts) > 1, "answers that never change could not tell right from wrong"
    assert max(answer.passes for answer in fast) > 1


def test_batches_do_not_change_answers(answerer, frames):
    together = answerer.answer(frames, PROMPTS)
    for image, prompt, answer in zip(frames, PROMPTS, together, strict=True):
        (alone,) = answerer.answer([image], [prompt])
        assert alone.text == answer.text
        assert np.allclose(list(alone.confidence.values()), list(answer.confidence.values()), atol=1e-4)


def test_scoring_leaves_the_prefix_alone(answerer, frames):
    ids = torch.tensor([prompt_ids(PROMPTS[0], WINDOWED_CONTRACT, answerer.tokenizer)] * 2)
    prefix = answerer.read(frames[:2], ids)
    before = [(k.clone(), v.clone()) for k, v in prefix.layers]
    long = answerer.grammar.tokens({s: v[0] for s, v in SLOTS.items()} | {"recommended_speed_kmh": "120"})
    short = answerer.grammar.tokens({s: v[0] for s, v in SLOTS.items()})
    both = answerer.score(prefix, [short, long], [0, 1])
    (second,) = answerer.score(prefix, [long], [1])
    assert [len(rows) for rows in both] == [len(short), len(long)]
    assert np.allclose(both[1], second, atol=1e-4)
    for (k, v), (k0, v0) in zip(prefix.layers, before, strict=True):
        assert torch.equal(k, k0) and torch.equal(v, v0)


def test_it_is_an_answerer(answerer, frames):
    assert isinstance(answerer, Answerer)
    assert answerer.answer([], []) == []
