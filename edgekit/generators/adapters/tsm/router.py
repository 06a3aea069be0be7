"""The gates of context experts: G(z, t) = F z + E[t] (eq. 6)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class Router(nn.Module):
    """One layer's router. Nothing bounds a gate: it may be negative or above 1 (symmetric and moe: softmax).

    F and E start at zero (the paper does not say), so a mixture starts as its core alone; F has no bias, as
    the paper's counts show. feature: F (gates, width); time: E (steps, gates).
    """

    def __init__(
        self,
        width: int,
        gates: int,
        steps: int,
        inputs: Literal["both", "feature", "time"] = "both",
        pool: Literal["token", "image"] = "token",
        softmax: bool = False,
        like: Tensor | None = None,
    ):
        super().__init__()
        options = {"dtype": torch.float32, "device": None if like is None else like.device}
        self.feature = nn.Parameter(torch.zeros(gates, width, **options)) if inputs != "time" else None
        self.time = nn.Parameter(torch.zeros(steps, gates, **options)) if inputs != "feature" else None
        self.pool, self.softmax = pool, softmax

    def forward(self, z: Tensor, rows: Tensor) -> Tensor:
        """z: [B, N, width]; rows: [B] or [1], long. The weights of all experts, the core's first:
        [B, N, 1 + gates] with the core's 1, or [B, N, gates] by softmax; 1 in place of N where pooled, of B
        and N where z does not matter."""
        gates = 0.0
        if self.feature is not None:
            seen = z.mean(dim=1, keepdim=True) if self.pool == "image" else z
            gates = seen.to(self.feature.dtype) @ self.feature.mT  # [B, N or 1, gates]
        if self.time is not None:
            gates = gates + self.time[rows.to(self.time.device)][:, None]  # + [B or 1, 1, gates]
        if self.softmax:
            return gates.softmax(dim=-1)
        return torch.cat([torch.ones_like(gates[..., :1]), gates], dim=-1)
