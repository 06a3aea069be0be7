"""Gap-driven modulation of one frozen weight: the maths, as torch parametrizations.

DriveDiTFit eq. 8–9 read W̃ = W∘Γ + B with Γ = Γout·Γin and B = Bout·Bin of rank r. Taken literally a zero factor
makes W̃ = 0, so Γ is a residual here: W̃ = W∘(1 + Γout·Γin) + Bout·Bin, identity at init.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """W (out, in[, kh, kw]) → W∘(1 + Γout·Γin) + Bout·Bin, a kernel's trailing axes taken as one.

    In-factors Kaiming-uniform with a = √5, out-factors zero: W̃ is W bit for bit at init, and every column of a
    factor starts elsewhere, so rank r can be reached. A weight of 0 is moved by the additive part alone.
    """

    def __init__(self, weight: Tensor, rank: int, mul: bool, add: bool, generator: torch.Generator):
        super().__init__()
        out, inner = weight.shape[0], weight[0].numel()
        for part in ["mul"] * mul + ["add"] * add:
            start = torch.empty(rank, inner)
            nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
            setattr(self, f"{part}_out", nn.Parameter(torch.zeros(out, rank, device=weight.device)))
            setattr(self, f"{part}_in", nn.Parameter(start.to(weight.device)))
        self.mul, self.add = mul, add

    def forward(self, weight: Tensor) -> Tensor:
        # In the factors' own precision, whatever autocast says: W + W∘Γ keeps a Γ that 1 + Γ would round away. What
        # comes out is rounded to the precision of W: on a bfloat16 base a change below 1/256 of W is lost.
        with torch.autocast(weight.device.type, enabled=False):
            plain = weight.flatten(1).to(torch.float32)  # [out, in]
            changed = plain
            if self.add:
                changed = torch.addmm(changed, self.add_out, self.add_in)
            if self.mul:
                changed = torch.addcmul(changed, plain, self.mul_out @ self.mul_in)
            return changed.view_as(weight).to(weight.dtype)


class Ones(nn.Module):
    """The released operator: W∘(U·V), U (out, r) and V (r, in) filled with 1/√r, so that U·V = 1 at init.

    Kept for comparison. All r columns start equal, get equal gradients and equal optimiser state: they stay
    equal, and Γ has rank 1 for every r.
    """

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        fill = rank**-0.5
        self.mul_out = nn.Parameter(torch.full((weight.shape[0], rank), fill, device=weight.device))
        self.mul_in = nn.Parameter(torch.full((rank, weight.shape[1]), fill, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return (weight.to(torch.float32) * (self.mul_out @ self.mul_in)).to(weight.dtype)


class OnesConv(nn.Module):
    """The released operator of the patch embedding: Γ = V·ReLU(U·M), filled with r^(−2/3), so that Γ = 1 at init.

    W (out, in, kh, kw); U (out, r), M (r, r, kh·kw), V (in, r).
    """

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        out, inner, *kernel = weight.shape
        for name, shape in {
            "mul_out": (out, rank),
            "mul_mid": (rank, rank, math.prod(kernel)),
            "mul_in": (inner, rank),
        }.items():
            setattr(self, name, nn.Parameter(torch.full(shape, rank ** (-2 / 3), device=weight.device)))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            mid = torch.einsum("oq,qsk->osk", self.mul_out, self.mul_mid).relu()  # [out, r, kh·kw]
            gain = torch.einsum("is,osk->oik", self.mul_in, mid)  # [out, in, kh·kw]
            return (weight.to(torch.float32) * gain.view_as(weight)).to(weight.dtype)


class BiasShift(nn.Module):
    """b (out) → b∘m + a with m = 1 and a = 0 at init."""

    def __init__(self, bias: Tensor):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(bias.shape, device=bias.device))
        self.shift = nn.Parameter(torch.zeros(bias.shape, device=bias.device))

    def forward(self, bias: Tensor) -> Tensor:
        with torch.autocast(bias.device.type, enabled=False):
            return torch.addcmul(self.shift, bias.to(torch.float32), self.scale).to(bias.dtype)
