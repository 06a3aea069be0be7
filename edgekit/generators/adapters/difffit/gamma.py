"""γ: one learned scale per output channel of a layer, 1 at the start. y = γ ⊙ (W x + b).

The scale stands on the output, not on the weight: its gradient then needs no gradient of the frozen W.
A layer may carry several (attention's output has γ1 of Algorithm 1 and γ_proj of Algorithm 3); only their
product can be told from the data, so together they move twice as fast as one alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d


def scaled(output: Tensor, gamma: Tensor, channel: int = -1) -> Tensor:
    """``output`` with its ``channel`` dimension multiplied by gamma (C,). Dtype of ``output``.

    gamma may be of higher precision: steps of 1e-3 around 1 are lost in bfloat16 (spacing 1/128).
    """
    if channel != -1:
        gamma = gamma.reshape(-1, *[1] * (output.ndim - 1 - channel % output.ndim))
    return (output * gamma).to(output.dtype)


def channels(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


class Gamma:
    """A scale on a layer's output: parameter ``name`` of the layer, applied by a forward hook.

    The layer keeps its class and the names of its weights, so whatever else reads them still does.
    """

    def __init__(self, layer: Layer, name: str):
        if hasattr(layer, name):
            raise ValueError(f"the layer has a {name} already")
        self.layer, self.name = layer, name
        weight = layer.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        start = torch.ones(channels(layer), dtype=dtype, device=weight.device)
        layer.register_parameter(name, nn.Parameter(start))
        channel = -1 if isinstance(layer, nn.Linear) else 1  # Conv2d: [B, C, h, w]
        self._hook = layer.register_forward_hook(
            lambda module, _, output: scaled(output, getattr(module, name), channel)
        )

    @property
    def value(self) -> nn.Parameter:
        return getattr(self.layer, self.name)

    def remove(self) -> None:
        self._hook.remove()
        delattr(self.layer, self.name)

    @torch.no_grad()
    def fold(self) -> None:
        """W ← diag(γ) W, b ← γ ⊙ b in the precision of γ, then removes the scale (spec: exact folding).

        Two scales on one layer fold one after the other: their product.
        """
        gamma = self.value
        for tensor in (self.layer.weight, self.layer.bias):
            if tensor is not None:  # rows are output channels, of a Linear and of a Conv2d
                tensor.copy_(gamma.reshape(-1, *[1] * (tensor.ndim - 1)) * tensor)
        self.remove()
