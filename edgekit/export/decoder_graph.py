"""The language model as one ONNX graph: embeddings in, logits of the asked rows and the new KV out.

    inputs_embeds (1, S, H)   position_ids (3, 1, S)   rows (R)   past.<layer>.key|value (1, KV, P, D)
    logits (1, R, V)          present.<layer>.key|value (1, KV, P + S, D)

S, R, P are dynamic; P may be 0. ``rows`` saves the head's work where few logits are wanted: with a
vocabulary of 152 k, a whole prompt's logits would be larger than the model's other activations.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import DynamicCache


def cache_names(layers: int, word: str) -> list[str]:
    return [f"{word}.{i}.{part}" for i in range(layers) for part in ("key", "value")]


class Decoder(nn.Module):
    """Qwen2.5-VL's language model over an explicit cache; batch of one, no padding."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.language = model.model.language_model
        self.head = model.lm_head
        self.language.config._attn_implementation = "eager"

    def forward(self, inputs_embeds, position_ids, rows, past):
        new, before = inputs_embeds.shape[1], past[0].shape[2]
        cache = DynamicCache(config=self.language.config)
        for layer in range(self.language.config.num_hidden_layers):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        # Row i of the new tokens sees all of the past and the new ones up to itself.
        seen = torch.arange(before + new)[None, :] <= torch.arange(new)[:, None] + before
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]  # (1, 1, S, P + S)
        hidden = self.language(
            inputs_embeds=inputs_embeds,
            attention_mask={"full_attention": mask, "sliding_attention": mask},
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        logits = self.head(hidden.index_select(1, rows))
        present = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return (logits, *present)


def trace_decoder(model: nn.Module, opset: int):
    """``model`` (float32, linears perhaps already NBitsLinear) → an onnx_ir Model."""
    from edgekit.export.onnx_file import trace

    text = model.config.text_config
    layers, heads = text.num_hidden_layers, text.num_key_value_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    new, before = 5, 7  # any sizes will do: they are declared dynamic
    args = (
        torch.randn(1, new, text.hidden_size),
        torch.arange(before, before + new).expand(3, 1, new).contiguous(),
        torch.tensor([1, 3, 4]),
        [torch.randn(1, heads, before, width) for _ in range(2 * layers)],
    )
    limit = text.max_position_embeddings
    s, r, p = (
        torch.export.Dim("tokens", min=1, max=limit),
        torch.export.Dim("rows", min=1, max=limit),
        torch.export.Dim("before", min=0, max=limit),
    )
    shapes = {
        "inputs_embeds": {1: s},
        "position_ids": {2: s},
        "rows": {0: r},
        "past": [{2: p} for _ in range(2 * layers)],
    }
    inputs = ["inputs_embeds", "position_ids", "rows", *cache_names(layers, "past")]
    outputs = ["logits", *cache_names(layers, "present")]
    return trace(Decoder(model).eval(), args, inputs, outputs, shapes, opset)
