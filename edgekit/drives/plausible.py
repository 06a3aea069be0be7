"""Whether a record can be what a road vehicle measured in m/s, rad/s and m/s².

Each check looks at cells of one second, so that a noisy sample decides nothing. The limits are those
of physics and of road cars, stated here once; nothing is converted: what fails is refused with a hint.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.drives.telemetry import Record, Series

MAX_MPS = 70.0  # 252 km/h: most road cars are limited to 250
MIN_MPS = -20.0  # 72 km/h backwards
HARD_MPS2 = 6.0  # an emergency stop; daily driving stays below 4
HARD_SHARE, HARD_CELLS = 0.02, 5  # of the seconds in which it moves
TOLD_MPS = 130 / 3.6  # from here on the top speed is told: it is rare in m/s, and a town's in km/h
# From one standstill to the next. Roads with lights or signs to stop at so near one another have lower limits; a
# motorway's jam has short legs or fast ones.
STOOD_MPS, STOOD_CELLS = 1.0, 2
LEG_M, LEG_MPS = (50.0, 2000.0), 30.0
LEGS, LEG_SHARE = 3, 0.5
LATERAL_MPS2 = 9.0  # tyres on a dry road end near 1 g
TURN_RPS = 2.0  # a full turn in three seconds
LATERAL_CELLS = TURN_CELLS = 3
KMH = (2.85, 4.55)  # of Δspeed over ∫acceleration: 3.6 with a correlation of at least 0.8 either way
MPH = (1.79, 2.85)  # 2.237
SLOPE_CELLS, SLOPE_R = 20, 0.8  # noise that leaves 0.8 moves the ratio by 1.25 at most: 1 stays below MPH
SLOPE_SPREAD = (
    0.1  # m/s², as a road that rises by 1 % feels: below it hills and the sensor's drift speak, no driver
)


class Cells(NamedTuple):
    """Per whole second of the record (m,): change of speed, mean speed (m/s), NaN where it has a gap."""

    start_s: np.ndarray
    change_mps: np.ndarray
    mean_mps: np.ndarray


def check(record: Record, refuse: bool = True) -> list[str]:
    """Notes on what is odd. Raises UserError for speeds in km/h or mph and for impossible values.

    refuse=False: what would be refused is noted instead.
    """
    notes = []
    for why, do in findings(record):
        if refuse:
            raise UserError(f"{record.source}: not plausible as m/s, rad/s and m/s²", why, do)
        notes.append(f"{record.source} is not plausible and is taken as it is: {why}")
    speed = record.series.get("speed_mps")
    if speed is not None and (top := float(speed.values.max())) > TOLD_MPS:
        notes.append(
            f"{record.source}: at most {top:.1f} m/s ({3.6 * top:.0f} km/h); if that is too fast, it is in km/h"
        )
    return notes


def findings(record: Record) -> list[tuple[str, str]]:
    """(why, what to do) of each check that fails, the surest first."""
    speed = record.series.get("speed_mps")
    if speed is None:
        return []
    cells = seconds(speed)
    kmh = "if it is in km/h, divide it by 3.6; if it is right, set reading.plausible=false"
    out = []
    slope = slope_of(cells, record.series.get("accel_mps2"))
    if slope and KMH[0] <= slope <= KMH[1]:
        out.append((f"the speed changes {slope:.2f} times as fast as accel_mps2 says: km/h by mistake", kmh))
    elif slope and MPH[0] <= slope < MPH[1]:
        why = f"the speed changes {slope:.2f} times as fast as accel_mps2 says: miles an hour by mistake"
        out.append((why, "multiply it by 0.44704; if it is right, set reading.plausible=false"))
    top, low = float(speed.values.max()), float(speed.values.min())
    if top > MAX_MPS:
        out.append((f"a speed of {top:.1f} m/s ({3.6 * top:.0f} km/h); at most {MAX_MPS:g} is taken", kmh))
    if low < MIN_MPS:
        out.append((f"a speed of {low:.1f} m/s; at least {MIN_MPS:g} is taken", "turn its sign, or mend it"))
    moving = np.isfinite(cells.change_mps) & (np.abs(cells.mean_mps) > 0.5)
    hard = moving & (np.abs(cells.change_mps) > HARD_MPS2)
    if hard.sum() >= max(HARD_CELLS, HARD_SHARE * moving.sum()):
        why = (
            f"it gains or loses more than {HARD_MPS2:g} m/s within a second, {hard.sum()} times in "
            f"{moving.sum()} s of driving, at most {np.abs(cells.change_mps[hard]).max():.1f}"
        )
        out.append((why, kmh))
    legs = legs_of(cells)
    fast = [(length, peak) for length, peak in legs if peak > LEG_MPS and length < LEG_M[1]]
    if len(fast) >= max(LEGS, LEG_SHARE * len(legs)):
        length, peak = max(fast, key=lambda leg: leg[1])
        why = (
            f"of {len(legs)} times from one standstill to the next it is above {LEG_MPS:g} m/s and no further "
            f"than {LEG_M[1]:g} m {len(fast)} times, as in {peak:.1f} m/s over {length:.0f} m"
        )
        out.append((why, kmh))
    return out + _turning(speed, record.series.get("yaw_rate_rps"), kmh)


def _turning(speed: Series, yaw: Series | None, kmh: str) -> list[tuple[str, str]]:
    if yaw is None:
        return []
    turn = np.abs(_means(yaw, *_grid(yaw.t_s)))
    spins = np.nansum(turn > TURN_RPS)
    if spins >= TURN_CELLS:
        why = f"yaw_rate_rps is above {TURN_RPS:g} for {spins:.0f} s, at most {np.nanmax(turn):.1f}"
        return [(why, "if it is in degrees a second, multiply it by 0.0174533")]
    told = (yaw.t_s >= speed.t_s[0]) & (yaw.t_s <= speed.t_s[-1])
    if not told.any():
        return []
    lateral = Series(yaw.t_s[told], yaw.values[told] * np.interp(yaw.t_s[told], *speed))
    sideways = np.abs(_means(lateral, *_grid(lateral.t_s)))
    beyond = np.nansum(sideways > LATERAL_MPS2)
    if beyond < LATERAL_CELLS:
        return []
    most = np.nanmax(sideways)
    why = f"speed times yaw rate is above {LATERAL_MPS2:g} m/s² for {beyond:.0f} s, at most {most:.1f}"
    return [(why, kmh if most / 3.6 <= LATERAL_MPS2 else "check the units of both")]


def seconds(speed: Series) -> Cells:
    """The record in whole seconds; a second is told where rows lie within half a second of both ends."""
    start, end = _grid(speed.t_s)
    first, last = _near(speed, start), _near(speed, end)
    return Cells(start, last - first, (first + last) / 2)


def legs_of(cells: Cells) -> list[tuple[float, float]]:
    """(metres, top m/s) from each standstill of ``STOOD_CELLS`` seconds to the next, where it is told
    throughout; without those shorter than a car creeps on."""
    stands = np.abs(cells.mean_mps) < STOOD_MPS
    stood = np.convolve(stands, np.ones(STOOD_CELLS), "valid") == STOOD_CELLS if len(stands) else stands
    out = []
    for a, b in pairwise(np.flatnonzero(stood)):
        leg = np.abs(cells.mean_mps[a + STOOD_CELLS : b])
        whole = cells.start_s[b] - cells.start_s[a] < b - a + 0.5 and np.isfinite(leg).all()
        if whole and leg.sum() >= LEG_M[0]:
            out.append((float(leg.sum()), float(leg.max())))
    return out


def slope_of(cells: Cells, accel: Series | None) -> float | None:
    """How many times faster the speed changes than the acceleration says; None where that is not told.

    The ratio of the spreads of Δspeed and mean acceleration over the seconds: 1 for m/s and m/s², 3.6
    where the speed is in km/h. Told where they correlate and the vehicle accelerates enough.
    """
    if accel is None:
        return None
    change, mean = cells.change_mps, _means(accel, cells.start_s, cells.start_s + 1.0)
    told = np.isfinite(change) & np.isfinite(mean)
    if told.sum() < SLOPE_CELLS or mean[told].std() < SLOPE_SPREAD or change[told].std() == 0:
        return None
    if np.corrcoef(change[told], mean[told])[0, 1] < SLOPE_R:
        return None
    return float(change[told].std() / mean[told].std())


def _grid(t_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the whole seconds of a record that hold a row, (m,)."""
    number = np.unique(np.floor(t_s - t_s[0]).astype(np.int64))
    start = t_s[0] + number
    inside = start + 1.0 <= t_s[-1] + 1e-6
    return start[inside], start[inside] + 1.0


def _near(series: Series, at: np.ndarray) -> np.ndarray:
    from edgekit.drives.align import align

    return align(*series, at, 0.5, 0.0)[0]


def _means(series: Series, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Mean of the samples in each [start, end), NaN where there are none."""
    a, b = np.searchsorted(series.t_s, start), np.searchsorted(series.t_s, end)
    total = np.concatenate([[0.0], np.cumsum(series.values)])
    with np.errstate(invalid="ignore"):
        return np.where(b > a, (total[b] - total[a]) / np.maximum(b - a, 1), np.nan)
