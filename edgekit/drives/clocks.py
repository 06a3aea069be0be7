"""Clocks: leaps in a drive's times, and frames against telemetry. What is found is noted, or refused."""

from __future__ import annotations

import numpy as np

from edgekit.core.errors import UserError
from edgekit.drives.telemetry import Record

LEAP_S = 5.0  # a step forward longer than this, and twenty times the usual one, is told as a leap
USUAL = 20.0
SET_BACK = 0.01  # more of the times than this falling back is a broken clock, not jitter
# What a clock may count in instead of seconds.
FINER = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
APART_S, APART = 2.0, 0.05  # lengths of one drive may differ by the larger of the two


def leaps(times_s: np.ndarray, what: str) -> list[str]:
    """A note where strictly rising times leap forward: no frame or row was recorded, or a clock was set."""
    steps = np.diff(times_s)
    if not len(steps):
        return []
    far = np.flatnonzero(steps > max(LEAP_S, USUAL * float(np.median(steps))))
    if not len(far):
        return []
    places = ", ".join(f"{steps[i]:.1f} s after {times_s[i]:.2f} s" for i in far[:3])
    more = f" and {len(far) - 3} more" if len(far) > 3 else ""
    return [f"{what}: the clock leaps forward {len(far)} times ({places}{more}); nothing is filled in there"]


def rising(times_s: np.ndarray, what: str) -> tuple[np.ndarray, list[str]]:
    """(which times are kept, bool (n,), notes): a time that is not above all before it is left out.

    Raises UserError where the clock was set back by ``LEAP_S`` or more, or keeps falling back: what was
    measured after it stands at no certain time.
    """
    highest = np.maximum.accumulate(times_s) if len(times_s) else times_s
    kept = np.ones(len(times_s), bool)
    kept[1:] = times_s[1:] > highest[:-1]
    left = int((~kept).sum())
    if not left:
        return kept, []
    back = float((highest - times_s).max())
    if back >= LEAP_S or left > max(1, SET_BACK * len(times_s)) and back > 0:
        at = int(np.argmax(highest - times_s))
        raise UserError(
            f"{what}: the clock falls back",
            f"by {back:.3f} s at entry {at} of {len(times_s)}; {left} do not rise",
            "cut the drive there, or mend its times",
        )
    return kept, [f"{what}: {left} of {len(times_s)} times do not rise and are left out"]


def check_seconds(times_s: np.ndarray, record: Record, gap_s: float) -> None:
    """Raises UserError where a record's times look like a finer unit than seconds.

    times_s: of the frames, from 0. Two signs together, as each alone may be so: the usual step is too long
    for any two rows to be joined, and a thousandth (millionth …) of the record is half to twice as long as
    the frames.
    """
    series = record.series.get("speed_mps")
    if series is None or len(series.t_s) < 2 or len(times_s) < 2:
        return
    step, span = float(np.median(np.diff(series.t_s))), float(series.t_s[-1] - series.t_s[0])
    if step <= max(APART_S, gap_s):
        return
    for unit, parts in FINER.items():
        if 0.5 <= span / parts / float(times_s[-1]) <= 2:
            raise UserError(
                f"{record.source}: its times are not in seconds",
                f"its rows are {step:g} apart and run over {span:g}, the frames over {times_s[-1]:.1f} s: "
                f"{unit} by mistake",
                f"divide its times by {parts:.0f}",
            )


def against(times_s: np.ndarray, record: Record, start_s: float) -> list[str]:
    """A note where telemetry and frames do not cover the same time.

    times_s: of the frames, from 0. start_s: what the record's clock shows at the first frame.
    """
    series = record.series.get("speed_mps")
    if series is None or not len(times_s):
        return []
    first, last, end = series.t_s[0] - start_s, series.t_s[-1] - start_s, float(times_s[-1])
    spare = max(APART_S, APART * end)
    spans = f"{record.source} runs from {first:.1f} to {last:.1f} s, the frames from 0 to {end:.1f} s"
    if last < 0 or first > end:
        return [f"{spans}: another clock; set reading.offset_s to what it shows at the first frame"]
    if first > spare or last < end - spare or last - first > end + spare:
        return [f"{spans}: a recorder began late, stopped early or ran on, or one of the clocks runs fast"]
    return []
