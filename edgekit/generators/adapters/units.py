"""A unit: one head of one attention projection, named ``<projection>.h<head>``.

"Projection-wise" means this in the CA-LoRA paper, not the whole linear layer, which is its ablation "integrated".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekit.core.errors import UserError, suggestion
from edgekit.generators.adapters.sites import ADDED_ATTENTION, ATTENTION, sites


@dataclass(frozen=True, eq=False)
class Projection:
    """A linear layer of attention. axis: of its weight [out, in], along which heads lie: 0 for q, k, v (eq. 9),
    1 for the output (eq. 8); role: as in sites.py, without "added_"; added: of an MM-DiT's text stream."""

    name: str
    layer: nn.Linear
    role: str
    heads: int
    added: bool = False

    @property
    def axis(self) -> int:
        return 1 if self.role == "out" else 0

    @property
    def head_width(self) -> int:
        return self.layer.weight.shape[self.axis] // self.heads

    @property
    def units(self) -> list[str]:
        return [f"{self.name}.h{head}" for head in range(self.heads)]

    def index(self, heads: Iterable[int]) -> Tensor:
        """Rows (q, k, v) or columns (out) of the weight that belong to ``heads``, ascending: [n] long."""
        width = self.head_width
        return torch.cat([torch.arange(width * head, width * (head + 1)) for head in sorted(heads)])

    def mean_squares(self, gradient: Tensor) -> Tensor:
        """[heads] float64: the mean square of the weight's gradient over the entries of each head."""
        out, into = gradient.shape
        square = gradient.float().square()
        if self.axis == 0:
            return square.reshape(self.heads, out // self.heads, into).double().mean((1, 2))
        return square.reshape(out, self.heads, into // self.heads).double().mean((0, 2))


def projections(denoiser: nn.Module, added: bool = False) -> list[Projection]:
    """Every projection of every attention module; added: an MM-DiT's text stream too.

    Raises UserError where heads do not divide a layer (fused projections among them).
    """
    found = []
    for site in sites(denoiser, [*ATTENTION, *(ADDED_ATTENTION if added else ())]):
        role = site.role.removeprefix("added_")
        one = Projection(site.name, site.module, role, site.parent.heads, role != site.role)
        if one.layer.weight.shape[one.axis] % one.heads:
            raise UserError(
                f"{one.name} has no heads of equal width",
                f"{one.layer.weight.shape[one.axis]} channels over {one.heads} heads",
                "open the base anew, without fused projections",
            )
        found.append(one)
    return found


def group_of(unit: str, granularity: str) -> str:
    """The projection (integrated), attention module (layer) or transformer block of a unit's name."""
    projection = unit.rpartition(".h")[0]
    if granularity == "integrated":
        return projection
    attention = projection.removesuffix(".0").rpartition(".")[0]
    return attention if granularity == "layer" else attention.rpartition(".")[0]


def chosen_heads(units: Iterable[str], found: list[Projection]) -> list[tuple[Projection, list[int]]]:
    """(projection, its chosen heads ascending), in the order of ``found``.

    Raises UserError for no unit at all, and for one that the denoiser does not have.
    """
    wanted = set(units)
    place = {unit: (p, head) for p in found for head, unit in enumerate(p.units)}
    if missing := sorted(wanted - place.keys()):
        layers = {p.name: p for p in found}
        layer = missing[0].rpartition(".h")[0]
        why = f"{len(missing)} of {len(wanted)} chosen heads are not among the {len(place)} here; "
        why += f"{layer} has heads 0 to {layers[layer].heads - 1}" if layer in layers else (
            f"no adapted projection has that name; {suggestion(layer, layers)}"
        )  # fmt: skip
        raise UserError(
            f"no unit {missing[0]!r}", why[:300], "choose <projection>.h<head> on the base that is tuned"
        )
    if not wanted:
        raise UserError("no head is chosen", f"of {len(place)}", "raise method.share")
    heads = {p.name: [h for h, unit in enumerate(p.units) if unit in wanted] for p in found}
    return [(p, heads[p.name]) for p in found if heads[p.name]]


def whole_factors(
    a: Tensor, b: Tensor, shape: torch.Size, outputs: Tensor | None = None, inputs: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A [r, in, ..] and B [out, r] of a layer whose weight has ``shape``, out of factors that hold chosen outputs
    or inputs (indices [n]; None: all) alone: 0 elsewhere."""
    if inputs is not None:
        a = a.new_zeros(len(a), *shape[1:]).index_copy(1, inputs, a)
    if outputs is not None:
        b = b.new_zeros(shape[0], b.shape[1]).index_copy(0, outputs, b)
    return a, b


def chosen_factors(
    a: Tensor, b: Tensor, outputs: Tensor | None = None, inputs: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The inverse of ``whole_factors``."""
    a = a if inputs is None else a.index_select(1, inputs.to(a.device))
    b = b if outputs is None else b.index_select(0, outputs.to(b.device))
    return a, b
