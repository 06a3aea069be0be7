"""A thing that was found in an image, and where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

SAME = 0.5  # overlap (IoU) of two boxes of one thing


class Box(NamedTuple):
    """name: what it is; pixels of that image, x0 < x1 and y0 < y1; score 0..1."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    across = min(a.x1, b.x1) - max(a.x0, b.x0)
    down = min(a.y1, b.y1) - max(a.y0, b.y0)
    both = max(across, 0.0) * max(down, 0.0)
    whole = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - both
    return both / whole if whole > 0 else 0.0


def merged(boxes: Iterable[Box]) -> list[Box]:
    """Without those that are another detector's word for the same thing: a light seen twice is one light."""
    found: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        if all(box.name != other.name or overlap(box, other) < SAME for other in found):
            found.append(box)
    return found
