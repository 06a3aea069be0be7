"""The experts of one layer and what they add to its output (eq. 2, 3 and 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.generators.adapters.tsm.clock import Clock
from edgekit.generators.adapters.tsm.router import Router
from edgekit.generators.adapters.units import whole_factors

Layer = nn.Linear | nn.Conv2d


class Expert(nn.Module):
    """lora_A: (r, in) or (r, in, k, k), lora_B: (out, r); a convolution's second factor is 1 x 1.

    Each expert has parameters of its own: an optimiser that trains one cannot move another, not even by
    weight decay.
    """

    def __init__(self, a: Tensor, b: Tensor):
        super().__init__()
        self.lora_A, self.lora_B = nn.Parameter(a), nn.Parameter(b)


class Experts(nn.Module):
    """What a layer's experts add to its output, 0 at the start: A is PEFT's Kaiming draw, B is zero.

    scales: the numbers of intervals; scaling: α/r. rows, columns: the outputs and inputs that experts
    act on (heads of a projection), None = all.
    """

    def __init__(
        self,
        layer: Layer,
        scales: list[int],
        rank: int,
        scaling: float,
        clock: Clock,
        draw: torch.Generator,
        router: Router | None = None,
        rows: Tensor | None = None,
        columns: Tensor | None = None,
    ):
        super().__init__()
        self.rank, self.scaling, self.clock, self.router = rank, scaling, clock, router
        weight = layer.weight
        self.shape = weight.shape
        self.conv = (
            {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            if isinstance(layer, nn.Conv2d)
            else None
        )
        self.register_buffer("rows", None if rows is None else rows.to(weight.device), persistent=False)
        self.register_buffer(
            "columns", None if columns is None else columns.to(weight.device), persistent=False
        )
        dtype = torch.promote_types(weight.dtype, torch.float32)
        outputs = weight.shape[0] if rows is None else len(rows)
        inputs = weight.shape[1:] if columns is None else (len(columns),)
        bound = weight[0].numel() ** -0.5  # kaiming_uniform_(a=√5), by the whole layer's inputs

        def expert() -> Expert:
            a = torch.empty(rank, *inputs, dtype=dtype, device="meta" if weight.is_meta else "cpu")
            a = a.uniform_(-bound, bound, generator=None if weight.is_meta else draw)
            return Expert(a.to(weight.device), torch.zeros(outputs, rank, dtype=dtype, device=weight.device))

        self.experts = nn.ModuleDict(
            {str(n): nn.ModuleList(expert() for _ in range(n)) for n in sorted(scales)}
        )

    def forward(self, z: Tensor) -> Tensor | None:
        """z: the layer's input, [B, ..., in] or [B, in, h, w]. What is added to its output; None for nothing.

        Experts stand side by side in one product, so a gate multiplies its expert's r values in between:
        Σ_j G_j B_j A_j z = [B_1 B_2 ..] diag(G) [A_1; A_2; ..] z.
        """
        moment = self.clock.read()
        if not moment.picks:
            return None
        a, b = self._side_by_side(moment.picks, len(z))  # [(B,) m r, in ..], [(B,) out, m r]
        z = z.to(a.dtype)
        h, grid = self._down(z, a)  # [B, N, m r]
        if moment.time_rows is not None:
            weights = self.router(self._tokens(z, grid), moment.time_rows)  # [B or 1, N or 1, m]
            h = (h.unflatten(-1, (len(moment.picks), self.rank)) * weights[..., None]).flatten(-2)
        added = h @ b.mT * self.scaling  # [B, N, out]
        if self.rows is not None:
            whole = added.new_zeros(*added.shape[:-1], self.shape[0])
            added = whole.index_copy(-1, self.rows, added)
        if self.conv is not None:
            return added.mT.unflatten(-1, grid)
        return added.reshape(*z.shape[:-1], self.shape[0])

    def _side_by_side(self, picks, batch: int) -> tuple[Tensor, Tensor]:
        if all(isinstance(i, int) for _, i in picks):
            chosen = [self.experts[str(n)][i] for n, i in picks]
            return torch.cat([e.lora_A for e in chosen]), torch.cat([e.lora_B for e in chosen], dim=1)
        every = []
        for n, i in picks:
            experts = self.experts[str(n)]
            for_each = torch.full((batch,), i) if isinstance(i, int) else i
            if len(for_each) != batch:
                raise RuntimeError(f"{len(for_each)} values of t for a layer's batch of {batch}")
            for_each = for_each.to(experts[0].lora_A.device)
            every.append([
                torch.stack([getattr(e, part) for e in experts]).index_select(0, for_each)
                for part in ("lora_A", "lora_B")
            ])  # fmt: skip
        return torch.cat([a for a, _ in every], dim=1), torch.cat([b for _, b in every], dim=2)

    def _down(self, z: Tensor, a: Tensor) -> tuple[Tensor, tuple[int, int] | None]:
        if self.conv is None:
            z = z if self.columns is None else z.index_select(-1, self.columns)
            return z.reshape(len(z), -1, z.shape[-1]) @ a.mT, None
        if a.ndim == 4:
            h = F.conv2d(z, a, **self.conv)
        else:  # each sample its own kernel: one group a sample
            h = F.conv2d(z.flatten(0, 1)[None], a.flatten(0, 1), **self.conv, groups=len(z))
            h = h.unflatten(1, (len(z), -1))[0]
        return h.flatten(2).mT, h.shape[2:]

    def _tokens(self, z: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """[B, N, in]; a convolution's input averaged to its output's grid where the two differ."""
        if grid is None:
            return z.reshape(len(z), -1, z.shape[-1])
        return (z if z.shape[2:] == grid else F.adaptive_avg_pool2d(z, grid)).flatten(2).mT

    def factors(self, n: int, i: int) -> tuple[Tensor, Tensor]:
        """A and B of expert ``i`` of ``n`` in the whole layer's shape, as PEFT stores them: (r, in) and
        (out, r), or (r, in, k, k) and (out, r, 1, 1)."""
        expert = self.experts[str(n)][i]
        a, b = expert.lora_A.detach().clone(), expert.lora_B.detach().clone()
        a, b = whole_factors(a, b, self.shape, self.rows, self.columns)
        return a, b[..., None, None] if self.conv is not None else b

    def weight(self, n: int, i: int) -> Tensor:
        """What expert ``i`` of ``n`` adds to the layer's weight, in its shape."""
        a, b = self.factors(n, i)
        return (b.flatten(1) @ a.flatten(1)).reshape(self.shape) * self.scaling


def add_experts(layer: Layer, experts: Experts):
    """Puts ``experts`` on ``layer`` as its child ``tsm``; returns a function that takes them off.

    The layer keeps its class and the names of its weights.
    """
    layer.add_module("tsm", experts)

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added = module.tsm(inputs[0])
        return output if added is None else output + added.to(output.dtype)

    hook = layer.register_forward_hook(add)

    def remove() -> None:
        hook.remove()
        del layer.tsm

    return remove
