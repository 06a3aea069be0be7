"""What the car's own motion says of a slot's value, counted on gold drives: who drives sees the road as well.

Motion is told in cells: how fast, and whether it brakes, rolls or speeds up. ``ratio`` is how much more often a cell
comes beside a value than at all: 1 for all values in a cell that gold never shows, and near 1 in all cells for a value
of which it shows little. A car does not make up its mind anew in every frame: in ``MOVES_S`` its motion says as much as
one look, and as long as it stays in one cell as much as ``MOST_LOOKS``, however long that is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOVES_S = 1.0
MOST_LOOKS = 2.0
FASTER_KMH = np.array([1, 5, 10, 15, 20, 25, 30, 40, 50, 70, 90], float)
EDGES_MPS2 = np.array([-0.5, 0.5])
OVER_S = 1.0  # an acceleration is a difference of speeds so far apart: those of a bus come in steps
CELLS = (len(FASTER_KMH) + 1) * (len(EDGES_MPS2) + 1)
STANDING = len(EDGES_MPS2) // 2  # the cell of a car that is at rest and stays there
PRIOR_S = 20.0  # of a value, beside what was counted: as all values move


def cells(times_s: Sequence[float], speeds_mps: Sequence[float | None]) -> np.ndarray:
    """(n,) the cell of each frame of a stretch; -1 where no speed is known, or none near enough for its change."""
    time = np.asarray(times_s, float)
    speed = np.array([np.nan if v is None else abs(v) for v in speeds_mps], float)
    if len(time) < 2:
        return np.full(len(time), -1)
    before, after = (np.clip(time + half, time[0], time[-1]) for half in (-OVER_S / 2, OVER_S / 2))
    accel = (np.interp(after, time, speed) - np.interp(before, time, speed)) / np.maximum(
        after - before, 1e-9
    )
    known = np.isfinite(accel) & np.isfinite(speed)
    cell = np.digitize(speed * 3.6, FASTER_KMH) * (len(EDGES_MPS2) + 1) + np.digitize(accel, EDGES_MPS2)
    return np.where(known, cell, -1)


def ratios(seconds: np.ndarray) -> np.ndarray:
    """(N, CELLS): how much more often a cell comes beside a value than at all. seconds: (N, CELLS) of gold."""
    usual = seconds.sum(axis=0) + 1.0
    usual /= usual.sum()
    # Each value's part of the second that every cell is given: what gold never shows is then 1 for all of them.
    part = seconds.sum(axis=1, keepdims=True) / max(seconds.sum(), 1e-9)
    by_value = seconds + part + PRIOR_S * usual
    return by_value / by_value.sum(axis=1, keepdims=True) / usual


def fits(ratio: np.ndarray, times_s: Sequence[float], speeds_mps: Sequence[float | None]) -> np.ndarray:
    """(n, N): how well the motion of each frame fits each value; 1 where nothing is known of it."""
    where = cells(times_s, speeds_mps)
    out = np.where(where[:, None] < 0, 1.0, ratio[:, where].T)
    return out ** looks(times_s, where)[:, None]


def looks(times_s: Sequence[float], where: np.ndarray) -> np.ndarray:
    """(n,) how much of a look each frame's motion is worth: its seconds of ``MOVES_S``, one at most, and ``MOST_LOOKS``
    at most in all of a run of frames in one cell. where: (n,) cells."""
    time = np.asarray(times_s, float)
    if len(time) < 2:
        return np.zeros(len(time))
    each = np.minimum(np.gradient(time) / MOVES_S, 1.0)
    run = np.cumsum(np.diff(where, prepend=where[0]) != 0)
    whole = np.bincount(run, weights=each)[run]
    return each * np.minimum(1.0, MOST_LOOKS / np.maximum(whole, 1e-9))
