"""Random streams: one for each purpose and place, so that nothing is drawn twice and nothing is carried over."""

from __future__ import annotations

import numpy as np
import torch


def draw_of(*place: int | str) -> torch.Generator:
    """A CPU generator of its own for ``place``: a seed, then words and numbers that say what is drawn, and where."""
    numbers = [n for part in place for n in (part.encode() if isinstance(part, str) else [part])]
    return torch.Generator().manual_seed(int(np.random.default_rng(numbers).integers(2**62)))
