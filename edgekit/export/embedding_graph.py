"""Token embeddings as an ONNX graph: input_ids (1, n) int64 → embeddings (1, n, H) float32."""

from __future__ import annotations

import torch


class Embedding(torch.nn.Module):
    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.table = model.get_input_embeddings()

    def forward(self, input_ids):
        return self.table(input_ids)


def trace_embedding(model: torch.nn.Module, opset: int):
    """``model`` → an onnx_ir Model."""
    from edgekit.export.onnx_file import trace

    tokens = torch.export.Dim("tokens", min=0, max=1 << 20)
    args = (torch.tensor([[1, 2, 3, 4]]),)
    shapes = {"input_ids": {1: tokens}}
    return trace(Embedding(model).eval(), args, ["input_ids"], ["embeddings"], shapes, opset)
