"""Boxes of objects as masks of latent cells, for the object-sensitive loss (DriveDiTFit §3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from edgekit.core.errors import UserError

Box = Sequence[float]  # x1, y1, x2, y2 in the image's pixels


def object_mask(
    boxes: Sequence[Sequence[Box]],
    image: tuple[int, int],
    latent: tuple[int, int],
    *,
    rule: Literal["cover", "code"] = "cover",
    min_cells: int = 1,
    flip: Sequence[bool] | None = None,
) -> Tensor:
    """(B, 1, h, w) float32, 1 in every latent cell that an object touches.

    boxes: for each image of the batch its boxes, in pixels of that image; image: its (height, width);
    latent: (h, w). Both axes are scaled on their own, as the images are. Boxes are clipped to the image, those
    outside of it left out. flip: the images that were mirrored left to right.

    rule ``cover``: every cell that the box touches, one at least, so that small objects count; boxes that
    touch fewer than min_cells cells along either axis are left out. ``code``: what the released code does:
    coordinates cut to whole cells, ends included, and a box that spans fewer than three cells along either
    axis is skipped, which drops the small objects that the loss is for.

    Raises UserError for a box whose corners are out of order.
    """
    mask = torch.zeros(len(boxes), 1, *latent)
    for b, of_one in enumerate(boxes):
        for box in of_one:
            x1, y1, x2, y2 = box
            if not (x1 <= x2 and y1 <= y2):  # NaN included
                raise UserError(
                    f"box {list(box)} of image {b} of the batch",
                    "its corners are not x1 <= x2, y1 <= y2",
                    "give boxes as [left, top, right, bottom] in pixels",
                )
            rows = _cells(y1, y2, image[0], latent[0], rule, min_cells)
            columns = _cells(x1, x2, image[1], latent[1], rule, min_cells)
            mask[b, 0, rows, columns] = 1.0
    for b in [b for b, mirrored in enumerate(flip or ()) if mirrored]:
        mask[b] = mask[b].flip(-1)
    return mask


def _cells(start: float, end: float, pixels: int, cells: int, rule: str, min_cells: int) -> slice:
    """The cells of one axis; an empty slice where the box is left out."""
    nothing = slice(0, 0)
    if end < 0 or start >= pixels or end == 0 > start:  # one that ends on the edge has no part in the image
        return nothing
    # Multiplied before divided: a box edge on a cell's edge stays there.
    first, last = max(start, 0) * cells / pixels, min(end, pixels) * cells / pixels
    if rule == "code":
        return nothing if int(first) + 1 >= int(last) else slice(int(first), int(last) + 1)
    low = math.floor(first)
    high = max(math.ceil(last), low + 1)
    return nothing if high - low < min_cells else slice(low, high)
