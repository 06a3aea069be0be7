"""A running mean of the trained tensors: what is saved in the end, smoother than the last step."""

from __future__ import annotations

import torch
from torch import Tensor


class Ema:
    """shadow <- d * shadow + (1 - d) * value with d = min(decay, (1 + n) / (10 + n)) at update n = 0, 1, ...

    The warm-up lets the mean forget the start of a short training. Shadows are float32 on the tensors' device.
    """

    def __init__(self, tensors: dict[str, Tensor], decay: float):
        self.tensors, self.decay, self.updates = tensors, decay, 0
        self.shadow = {name: t.detach().float().clone() for name, t in tensors.items()}

    def decay_now(self) -> float:
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def update(self) -> None:
        rest = 1 - self.decay_now()
        for name, tensor in self.tensors.items():
            self.shadow[name].lerp_(tensor.float(), rest)
        self.updates += 1

    @torch.no_grad()
    def write(self) -> None:
        """The tensors become their means."""
        for name, tensor in self.tensors.items():
            tensor.copy_(self.shadow[name])

    def state(self) -> dict:
        return {"updates": self.updates, "shadow": self.shadow}

    @torch.no_grad()
    def load(self, state: dict) -> None:
        self.updates = state["updates"]
        for name, tensor in self.shadow.items():
            tensor.copy_(state["shadow"][name])
