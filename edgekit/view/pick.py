"""Which frames go on a sheet, and the words that say how many of them are left out."""

from __future__ import annotations

import sys

import numpy as np

from edgekit.core.errors import UserError


def pick(total: int, count: int, start: int | None, everything: bool) -> list[int]:
    """Numbers of frames in rising order: all, ``count`` from ``start`` on, or ``count`` spread evenly.

    Raises UserError where ``start`` lies beyond the last frame.
    """
    if start is not None and not 0 <= start < total:
        raise UserError(
            f"edgekit view: --from {start}",
            f"there are {total} frames, counted from 0",
            f"give a number from 0 to {total - 1}",
        )
    if everything:
        return list(range(start or 0, total))
    return spread(total, count) if start is None else list(range(start, min(start + count, total)))


def spread(total: int, count: int) -> list[int]:
    """``min(total, count)`` indices from first to last, evenly."""
    return sorted({round(i) for i in np.linspace(0, total - 1, min(total, count))}) if total else []


def say(what: str, chosen: list[int], total: int, start: int | None) -> None:
    """``[view] ...: 24 of 480 frames`` on stderr, and how to see the others: nothing is left out silently."""
    if len(chosen) == total:
        text = f"all {total} frames"
    else:
        how = "spread evenly" if start is None else f"{chosen[0]} to {chosen[-1]}"
        text = f"{len(chosen)} of {total} frames, {how}"
        if start is None or chosen[-1] < total - 1:  # else what is left out was asked to be
            text += "; --all shows all, --from N those from number N on"
    print(f"[view] {what}: {text}", file=sys.stderr)
