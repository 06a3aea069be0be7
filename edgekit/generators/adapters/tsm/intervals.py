"""Which of n equal intervals of t an expert stands for. Light: works on numbers and on tensors.

t counts from 0 (t = 0 is one step from clean), so the paper's ⌈t·n/T⌉ of t = 1..T becomes ⌊t·n/T⌋: the
same where n divides T; elsewhere a t on a border may go to the neighbour (8 of 1000 for n = 16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def interval(t: int | float | Tensor, n: int, T: int) -> int | Tensor:
    """The expert, 0..n−1, for ``t`` (0..T−1, or a flow's real t up to T, which belongs to the last): of the
    cleanest images first. Tensors give long tensors of the same shape, whole numbers computed exactly."""
    if isinstance(t, (int, float)):
        return min(int(t * n // T), n - 1)
    t = t.double() if t.is_floating_point() else t.long()
    return (t * n // T).long().clamp(max=n - 1)


def bounds(i: int, n: int, T: int) -> tuple[float, float]:
    """lo ≤ t < hi of expert ``i`` (0..n−1) of ``n``. Not rounded: where n does not divide T, the whole steps
    between lo and hi are those that ``interval`` gives to i."""
    return i * T / n, (i + 1) * T / n
