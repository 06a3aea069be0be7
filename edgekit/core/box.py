"""A thing that was found in an image, and where."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """name: what it is; pixels of that image, x0 < x1 and y0 < y1; score 0..1."""

    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0
