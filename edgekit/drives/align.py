"""Telemetry to frames: linear interpolation by timestamp, with a stated tolerance."""

from __future__ import annotations

import numpy as np

EPSILON_S = 1e-6  # rows of 1 Hz are 0.5 s away, and floating point may say a little more


def align(
    t_s: np.ndarray, values: np.ndarray, times_s: np.ndarray, tolerance_s: float, gap_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """(values at ``times_s`` (m,) float64, whether each was filled in (m,) bool).

    t_s (n,), strictly rising, and values (n,), both finite. A time within ``tolerance_s`` of a row
    counts as measured. One further away, between two rows at most ``gap_s`` apart, is filled in. Any
    other is NaN: in a longer gap, or before the first and after the last row. Between two rows the
    line through them is taken; before the first and after the last, that row's value.
    """
    times = np.asarray(times_s, dtype=np.float64)
    if not len(t_s):
        return np.full(len(times), np.nan), np.zeros(len(times), bool)
    after = np.searchsorted(t_s, times).clip(max=len(t_s) - 1)
    before = (after - 1).clip(min=0)
    nearest = np.minimum(np.abs(times - t_s[before]), np.abs(times - t_s[after]))
    measured = nearest <= tolerance_s + EPSILON_S
    inside = (times >= t_s[0]) & (times <= t_s[-1])
    filled = ~measured & inside & (t_s[after] - t_s[before] <= gap_s + EPSILON_S)
    out = np.interp(times, t_s, values)
    out[~(measured | filled)] = np.nan
    return out, filled
