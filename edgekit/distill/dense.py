"""The dense auxiliary loss: what each vision token's cell holds, from the renderer's exact ids.

A trial showed why: from answers alone a small model takes hours to find lamps of a few pixels; told
which cells hold them, its vision tokens know within minutes, and the language side then reads them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.core.contract import Contract

# What the cells are asked for; names of the renderer's class table.
THINGS = ("lamp_red", "lamp_yellow", "lamp_green", "head", "cone", "barrier", "debris")
TARGETS = (*THINGS, "zebra", "marking")


def cells(
    ids: np.ndarray | None, classes: dict[str, int] | None, contract: Contract, min_pixels: int
) -> np.ndarray:
    """Targets float32 (cells, len(TARGETS)): 1 where a class has ≥ min_pixels in the cell, else 0;
    −1 (not counted) where the frame has no ids. Cells run row by row, as the merged tokens do."""
    unit = contract.patch_size * contract.merge_size
    rows, columns = contract.height // unit, contract.width // unit
    if ids is None or classes is None:
        return np.full((rows * columns, len(TARGETS)), -1, dtype=np.float32)
    blocks = ids.reshape(rows, unit, columns, unit)
    out = np.zeros((rows, columns, len(TARGETS)), dtype=np.float32)
    for k, name in enumerate(TARGETS):
        if name in classes:
            out[:, :, k] = (blocks == classes[name]).sum(axis=(1, 3)) >= min_pixels
    return out.reshape(rows * columns, len(TARGETS))


def crop(
    image: np.ndarray,
    ids: np.ndarray | None,
    classes: dict[str, int] | None,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray | None]:
    """A (width, height) window of the frame, every second one about a target's pixel.

    What a lamp looks like is local: the warm-up learns it from windows at a fraction of the cost,
    and the tower's relative positions carry it to whole frames.
    """
    width, height = size
    top = rng.integers(0, image.shape[0] - height + 1)
    left = rng.integers(0, image.shape[1] - width + 1)
    if ids is not None and classes is not None and rng.random() < 0.5:
        present = [classes[n] for n in THINGS if n in classes and (ids == classes[n]).any()]
        if present:
            rows, columns = np.nonzero(ids == present[rng.integers(len(present))])
            k = rng.integers(len(rows))
            top = int(np.clip(rows[k] - rng.integers(height), 0, image.shape[0] - height))
            left = int(np.clip(columns[k] - rng.integers(width), 0, image.shape[1] - width))
    window = np.s_[top : top + height, left : left + width]
    return np.ascontiguousarray(image[window]), None if ids is None else np.ascontiguousarray(ids[window])


class DenseHead(nn.Linear):
    """One linear read-out of the vision tokens (cells, hidden) → (cells, len(TARGETS)).

    It is thrown away after training: the Checkpoint stays the plain model.
    """

    def __init__(self, hidden: int):
        super().__init__(hidden, len(TARGETS))


def dense_loss(logits: Tensor, targets: Tensor, positive_weight: float) -> Tensor:
    """Mean binary cross-entropy over the cells that have a target."""
    known = targets >= 0
    if not known.any():
        return logits.sum() * 0
    weight = torch.tensor(positive_weight, dtype=logits.dtype, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits[known], targets[known], pos_weight=weight)
