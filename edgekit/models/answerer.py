"""The torch Answerer: a checkpoint's exact greedy answers under the label's grammar, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache

from edgekit.engine.answerer import Answer
from edgekit.engine.chat import positions, prompt_ids
from edgekit.engine.pixels import pixel_values
from edgekit.engine.slots import answer_of, decode, first_guess
from edgekit.models.checkpoint import Loaded, load_checkpoint
from edgekit.models.patches import patches_by_matrix


@dataclass(frozen=True)
class Prefix:
    """What the model has read of a batch: keys and values per layer, and what it would say next.

    layers: (keys, values) of (B, kv_heads, T, head_dim); logits: (B, V) float32 after the prompt;
    next_position: where the answer's first token stands on all three rotary axes.
    """

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    logits: torch.Tensor
    next_position: int

    def cache(self, which: Sequence[int]) -> DynamicCache:
        """A fresh cache of these members; what is appended to it does not reach the prefix."""
        cache = DynamicCache()
        rows = list(which)
        for i, (keys, values) in enumerate(self.layers):
            cache.update(keys[rows], values[rows], i)
        return cache


class TorchAnswerer:
    """Answers with a Checkpoint in torch (edgekit.engine.answerer.Answerer).

    source: a Checkpoint's folder, or one already loaded; batch: images at a time (each takes the
    prompt's keys and values in memory); threads: torch's, left alone where None.
    """

    def __init__(self, source: str | Path | Loaded, batch: int = 16, threads: int | None = None):
        if threads is not None:
            torch.set_num_threads(threads)
        loaded = source if isinstance(source, Loaded) else load_checkpoint(source)
        self.model, self.tokenizer, self.contract = loaded.model, loaded.tokenizer, loaded.contract
        self.grammar, self.name, self.batch = loaded.grammar, loaded.name, batch

    def answer(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[Answer]:
        """One Answer each, in order; the text is always canonical JSON. See the protocol."""
        answers: list[Answer | None] = [None] * len(images)
        for members, pictures, ids in self._batches(images, prompts):
            prefix = self.read(pictures, ids)
            found = decode(
                self.grammar,
                lambda tokens, which, prefix=prefix: self.score(prefix, tokens, which),
                [first_guess() for _ in members],
            )
            for member, (values, sure, passes) in zip(members, found, strict=True):
                text, label = answer_of(values)
                answers[member] = Answer(text, label, sure, passes)
        return answers  # type: ignore[return-value]

    def _batches(self, images, prompts):
        """(members, images, prompt ids (B, T)): prompts of one length go together, so none is padded."""
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for member, text in enumerate(prompts):
            ids = prompt_ids(text, self.contract, self.tokenizer)
            by_length.setdefault(len(ids), []).append((member, ids))
        for group in by_length.values():
            for start in range(0, len(group), self.batch):
                part = group[start : start + self.batch]
                members = [member for member, _ in part]
                yield members, [images[m] for m in members], torch.tensor([ids for _, ids in part])

    @torch.no_grad()
    def read(self, images: list[np.ndarray], ids: torch.Tensor) -> Prefix:
        """Runs vision tower and prompt once. images: RGB uint8, any size; ids: (B, T)."""
        model = self.model.model
        pixels, grids = pixel_values(images, self.contract)
        with patches_by_matrix(self.model):
            seen = model.visual(
                torch.from_numpy(pixels).to(self.model.dtype), grid_thw=torch.from_numpy(grids)
            ).pooler_output  # (B·image_tokens, hidden)
        embedded = model.language_model.embed_tokens(ids)  # (B, T, hidden)
        pads = ids == self.model.config.image_token_id
        embedded = embedded.masked_scatter(pads[..., None], seen.to(embedded.dtype))
        # Prompts of a batch have one length and one image at the same place: one row of positions.
        where, after = positions(ids[0].numpy(), self.model.config.image_token_id, self.contract)
        cache = DynamicCache()
        hidden = self._run(embedded, torch.from_numpy(where)[:, None].expand(3, len(ids), -1), cache)
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        return Prefix(layers, self.model.lm_head(hidden[:, -1]).float(), after)

    @torch.no_grad()
    def score(self, prefix: Prefix, tokens: list[list[int]], which: Sequence[int]) -> list[np.ndarray]:
        """Logits (len(tokens[i]), V): row k scores token k given the prompt and the tokens before.

        The answers of a batch differ in length and are padded on the right: under the causal mask
        no token sees what comes after it, so the padding needs no mask of its own.
        """
        longest = max(len(t) for t in tokens)
        ids = torch.tensor([t[:-1] + [t[-1]] * (longest - len(t)) for t in tokens])  # (B, longest - 1)
        hidden = self._extend(prefix, ids, prefix.cache(which))
        rows = torch.cat([prefix.logits[list(which)][:, None], self.model.lm_head(hidden).float()], dim=1)
        return [row[: len(t)].numpy() for row, t in zip(rows, tokens, strict=True)]

    def _extend(self, prefix: Prefix, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Hidden states (B, n, hidden) of an answer's first n tokens."""
        where = prefix.next_position + torch.arange(ids.shape[1])
        embedded = self.model.model.language_model.embed_tokens(ids)
        return self._run(embedded, where.expand(3, len(ids), -1), cache)

    def _run(self, embedded: torch.Tensor, where: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        return self.model.model.language_model(
            inputs_embeds=embedded, position_ids=where, past_key_values=cache, use_cache=True
        ).last_hidden_state
