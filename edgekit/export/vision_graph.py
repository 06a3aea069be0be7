"""The vision tower as one ONNX graph for any grid: everything that depends on the grid comes in.

    input (4G, 1176)              patches, as edgekit.engine.pixels lays them out
    rotary_pos_emb (4G, D/2)      angles of the 2-D rotary embedding
    attention_mask, window_attention_mask (1, 4G, 4G)   0 where a patch sees the other, else very low
    window_index, reverse_window_index (G)              merged tokens into window order, and back
    output (G, H)

G: merged tokens of the image. The masks stand for the block structure that transformers makes by
splitting sequences; plain operators, no plugin. The host computes them in numpy
(edgekit/engine/vision_inputs.py) once per grid.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

INPUTS = [
    "input", "rotary_pos_emb", "attention_mask", "window_attention_mask",
    "window_index", "reverse_window_index",
]  # fmt: skip


class Vision(nn.Module):
    """Qwen2.5-VL's vision transformer over host-computed masks; one image."""

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.visual = visual
        self.merge = visual.spatial_merge_unit

    def _attend(self, block, x, mask, cos, sin):
        patches, attention = x.shape[0], block.attn
        qkv = attention.qkv(x).reshape(patches, 3, attention.num_heads, attention.head_dim)
        q, k, v = qkv.permute(1, 0, 2, 3).unbind(0)  # (4G, heads, D) each
        q, k = apply_rotary_pos_emb_vision(q, k, cos, sin)
        q, k, v = (t.transpose(0, 1) for t in (q, k, v))
        scores = torch.matmul(q, k.transpose(1, 2)) * attention.scaling + mask
        mixed = torch.matmul(torch.softmax(scores, dim=-1), v)
        return attention.proj(mixed.transpose(0, 1).reshape(patches, -1))

    def forward(
        self, input, rotary_pos_emb, attention_mask, window_attention_mask, window_index, reverse_window_index
    ):
        def by_window(t):  # (4G, C), merged tokens reordered
            return t.reshape(-1, self.merge, t.shape[-1])[window_index].reshape(-1, t.shape[-1])

        x = by_window(self.visual.patch_embed(input))
        angles = by_window(rotary_pos_emb)
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos(), angles.sin()
        for number, block in enumerate(self.visual.blocks):
            full = number in self.visual.fullatt_block_indexes
            mask = attention_mask if full else window_attention_mask
            x = x + self._attend(block, block.norm1(x), mask, cos, sin)
            x = x + block.mlp(block.norm2(x))
        return self.visual.merger(x)[reverse_window_index]


def trace_vision(model: nn.Module, opset: int):
    """``model`` (float32) → an onnx_ir Model."""
    from edgekit.engine.vision_inputs import VisionShape, vision_inputs
    from edgekit.export.onnx_file import trace

    vision = model.config.vision_config
    shape = VisionShape.of(vision.to_dict())
    host = vision_inputs(shape, (1, 10, 12))
    patches = torch.randn(120, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)
    args = (patches, *(torch.from_numpy(host[name]) for name in INPUTS[1:]))
    groups = torch.export.Dim("groups", min=4, max=16384)
    n = 4 * groups
    shapes = {
        "input": {0: n},
        "rotary_pos_emb": {0: n},
        "attention_mask": {1: n, 2: n},
        "window_attention_mask": {1: n, 2: n},
        "window_index": {0: groups},
        "reverse_window_index": {0: groups},
    }
    return trace(Vision(model.model.visual).eval(), args, INPUTS, ["output"], shapes, opset)
