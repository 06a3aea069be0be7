"""Low-rank updates of some heads of an attention projection (eq. 8, 9)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.generators.adapters.units import Projection, chosen_factors, whole_factors

NAME = "head_lora"  # of the module under the linear layer that it changes


class HeadLora(nn.Module):
    """scaling·B·A on chosen heads: on outputs of a q, k or v layer, on inputs of an output layer.

    index: [n], the rows (axis 0) or columns (axis 1) of W [out, in] that belong to chosen heads. One pair for all
    heads of a layer: A [r, in] and B [n, r] on axis 0, A [r, n] and B [out, r] on axis 1. A ~ N(0, 1/r²), whatever
    its fan-in; B = 0: the identity at the start.
    """

    def __init__(
        self, layer: nn.Linear, axis: int, index: Tensor, rank: int, scaling: float, draw: torch.Generator
    ):
        super().__init__()
        n, (out, into) = len(index), layer.weight.shape
        self.axis, self.scaling = axis, scaling
        shape_a, shape_b = ((rank, into), (n, rank)) if axis == 0 else ((rank, n), (out, rank))
        a = torch.randn(shape_a, generator=draw) / rank
        device = layer.weight.device
        self.A = nn.Parameter(a.to(device))  # float32 on a bf16 base too: updates are small
        self.B = nn.Parameter(torch.zeros(shape_b, device=device))
        self.register_buffer("index", index.to(device), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """y [..., out], the frozen layer's output at x [..., in], with the update."""
        x = x.to(self.A.dtype)
        if self.axis == 0:
            update = self.scaling * F.linear(F.linear(x, self.A), self.B)  # [..., n]
            return y.index_add(-1, self.index, update.to(y.dtype))
        update = self.scaling * F.linear(F.linear(x.index_select(-1, self.index), self.A), self.B)
        return y + update.to(y.dtype)

    @property
    def _where(self) -> tuple[Tensor | None, Tensor | None]:
        """Chosen outputs and chosen inputs; None: all."""
        return (self.index, None) if self.axis == 0 else (None, self.index)

    def whole(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """A [r, in] and B [out, r] of an ordinary LoRA with the same product: 0 where no head is chosen."""
        return whole_factors(
            self.A.detach().clone(), self.B.detach().clone(), layer.weight.shape, *self._where
        )

    @torch.no_grad()
    def take(self, a: Tensor, b: Tensor) -> None:
        """The inverse of ``whole``."""
        a, b = chosen_factors(a, b, *self._where)
        self.A.copy_(a)
        self.B.copy_(b)

    def changes_nothing(self) -> bool:
        return not ((self.A != 0).any(1) & (self.B != 0).any(0)).any()


def put(
    projection: Projection, heads: list[int], rank: int, scaling: float, draw: torch.Generator
) -> HeadLora:
    """Adds a HeadLora to the projection's layer by a forward hook: class and weight names stay as they are."""
    layer = projection.layer
    lora = HeadLora(layer, projection.axis, projection.index(heads), rank, scaling, draw)
    layer.add_module(NAME, lora)
    lora.hook = layer.register_forward_hook(lambda module, args, y: getattr(module, NAME)(args[0], y))
    return lora


def take_out(layer: nn.Linear) -> None:
    getattr(layer, NAME).hook.remove()
    delattr(layer, NAME)


@torch.no_grad()
def fold(layer: nn.Linear) -> None:
    """W0 + scaling·B·A on the chosen rows or columns, then the update is taken out."""
    lora: HeadLora = getattr(layer, NAME)
    update = (lora.scaling * lora.B @ lora.A).to(layer.weight.dtype)
    layer.weight.index_add_(lora.axis, lora.index, update)
    take_out(layer)


def confine(a: nn.Parameter, b: nn.Parameter, axis: int, index: Tensor) -> list:
    """Makes an ordinary LoRA pair (PEFT's lora_A [r, in], lora_B [out, r]) train as a HeadLora does.

    Everything outside the chosen heads becomes 0 and its gradients are masked: zeros stay zeros under AdamW and
    its decay. Needed to go on training an exported adapter in PEFT. Returns the hooks' handles.
    """
    part, dim = (b, 0) if axis == 0 else (a, 1)
    mask = part.new_zeros(part.shape).index_fill(dim, index.to(part.device), 1.0).detach()
    with torch.no_grad():
        part.mul_(mask)
    return [part.register_hook(lambda gradient: gradient * mask)]
