"""The patch embedding as one matrix product: the same numbers as its convolution, sooner on CPU.

Qwen2.5-VL embeds patches by a Conv3d whose kernel is as large as its input: a matrix product in
disguise. As one, a nano training step (16 frames of 448×252) took 9–19 % less CPU time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch.nn.functional import linear
from transformers import Qwen2_5_VLForConditionalGeneration


def _forward(self, patches: torch.Tensor) -> torch.Tensor:
    """(patches, 3·t·p·p) → (patches, hidden)."""
    weight = self.proj.weight
    return linear(patches.to(weight.dtype), weight.flatten(1))


@contextmanager
def patches_by_matrix(model: Qwen2_5_VLForConditionalGeneration) -> Iterator[None]:
    """Within it the patch embedding is a product; weights, classes and checkpoints stay as they are."""
    embed = model.model.visual.patch_embed
    if "forward" in vars(embed) or embed.proj.bias is not None:  # nested, or wrapped by somebody else
        yield
        return
    embed.forward = MethodType(_forward, embed)
    try:
        yield
    finally:
        del embed.forward
