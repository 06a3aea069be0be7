"""What is known of a vehicle's motion at each frame of a drive, and of its labels along the way.

Arrays over one drive, NaN where a thing is not known: nothing was measured, or the drive ends before.
Distances are driven metres, the integral of the measured speed; headings the integral of the yaw rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.core.label import SceneLabel

STANDING_MPS = 0.3
EPSILON = 1e-6  # of times and distances that are sums of floating point numbers
PASSED_M = 20.0  # a light not seen for so long is behind; what is missed for less is still ahead
PASS_M = 30.0  # before a light is passed: what its frames say there
FREE_S = 10.0  # before and after: where the fastest speed is looked for
LIT = ("red", "yellow", "green", "off")
NEAR_S, NEAR_M = 4.0, 8.0  # before and after: how far a light's state, and what stands still, is looked for
GAPS = (("light", "red"), ("light", "green"), ("crossroad", "yes"), ("crossroad", "no"), ("cones", "yes"))

MEANING = {
    "speed_mps": "measured speed",
    "accel_mps2": "acceleration, mean over half a second before and after",
    "stopped_s": f"for how long it has been standing (below {STANDING_MPS} m/s); 0 while it moves",
    "stands_on_s": "for how long it will stand on, at least; 0 while it moves",
    "min_speed_next_3s_mps": "slowest speed of the next 3 s",
    "min_speed_next_50m_mps": "slowest speed over the next 50 m",
    "turn_next_10m_rad": "change of heading over the next 10 m, to the left positive",
    "turn_next_30m_rad": "change of heading over the next 30 m, to the left positive",
    "turn_next_60m_rad": "change of heading over the next 60 m, to the left positive",
    "lateral_next_50m_m": "farthest from the straight line ahead over the next 50 m",
    "above_driven_mps": f"recommended speed less the fastest driven within {FREE_S:g} s before and after",
    "below_driven_mps": "slowest speed of the next 3 s less the recommended speed",
    "light_run_s": "how long the labels show the light that this frame shows, without another between",
    "pass_m": f"metres to the last frame before {PASSED_M:g} m without a light: about where it is passed",
    "pass_speed_mps": "slowest speed until there",
    "pass_green": f"share of green among the lights shown within {PASS_M:g} m before it",
    "stand_red": "share of red among the lights told during this stand",
    "crossroad_ends_m": "metres to the last frame that claims this crossroad, at least",
    **{
        f"{slot}_{value}_gap_{unit}": f"{said} from the last frame before to the first after with {slot} {value}"
        for slot, value in GAPS
        for unit, said in (("s", "seconds"), ("m", "metres"))
    },
    **{
        f"{slot}_{value}_near": f"share of {value} among the frames that tell {slot} within "
        + (f"{NEAR_S:g} s" if slot == "light" else f"{NEAR_M:g} m") + " before and after"
        for slot, value in GAPS
    },
}  # fmt: skip


class Facts(Sequence):
    """``columns``: fact → float64 (n,), NaN where it is not known. ``facts[i]``: those known of frame i."""

    def __init__(self, times_s: np.ndarray, columns: Mapping[str, np.ndarray]):
        self.times_s, self.columns = times_s, dict(columns)

    def __len__(self) -> int:
        return len(self.times_s)

    def __getitem__(self, i: int) -> dict[str, float]:
        return {name: float(column[i]) for name, column in self.columns.items() if not np.isnan(column[i])}


def facts(
    times_s: Sequence[float],
    speeds_mps: Sequence[float | None] | None,
    accels_mps2: Sequence[float | None] | None = None,
    yaw_rates_rps: Sequence[float | None] | None = None,
    labels: Sequence[SceneLabel] | None = None,
) -> Facts:
    """The facts of MEANING for the n frames of one drive, all given at the frames' times.

    times_s: seconds, rising. speeds (m/s), accelerations (m/s², from the speeds where not measured), yaw
    rates (rad/s, to the left positive): None or NaN where nothing was measured. labels: for the facts that
    follow from labels.
    """
    times = np.asarray(times_s, float)
    way = _Way(times, _floats(speeds_mps, len(times)), _floats(yaw_rates_rps, len(times)))
    out = way.facts(_floats(accels_mps2, len(times)))
    if labels is not None:
        out |= _of_labels(way, labels)
    return Facts(times, out)


def _floats(values: Sequence[float | None] | None, n: int) -> np.ndarray:
    if values is None:
        return np.full(n, np.nan)
    return np.array([np.nan if v is None else v for v in values], float)


class _Way:
    """Times t, speeds v, driven metres s, headings and places, (n,) each."""

    def __init__(self, t: np.ndarray, v: np.ndarray, yaw: np.ndarray):
        self.t, self.v, self.n = t, np.abs(v), len(t)
        self.s, self.unknown = self._integral(self.v)
        self.heading, self.unturned = self._integral(yaw)
        self.x = self._integral(np.nan_to_num(self.v) * np.cos(self.heading))[0]
        self.y = self._integral(np.nan_to_num(self.v) * np.sin(self.heading))[0]

    def _integral(self, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The integral over time from the first frame, and how many steps before each frame are not known."""
        step = np.diff(self.t) * (rate[1:] + rate[:-1]) / 2
        lacks = np.concatenate([[0], np.cumsum(np.isnan(step))])
        return np.concatenate([[0.0], np.cumsum(np.nan_to_num(step))]), lacks

    def ahead_s(self, seconds: float) -> np.ndarray:
        """The last frame within ``seconds`` from each; -1 where the drive ends before."""
        last = np.searchsorted(self.t, self.t + seconds + EPSILON, side="right") - 1
        return np.where(self.t[-1:] + EPSILON >= self.t + seconds, last, -1)

    def ahead_m(self, metres: float) -> np.ndarray:
        """The first frame ``metres`` on from each; -1 where the drive ends before, or its speed is not known."""
        first = np.searchsorted(self.s, self.s + metres - EPSILON)
        inside = first.clip(max=self.n - 1)
        known = (first < self.n) & (self.unknown[inside] == self.unknown)
        return np.where(known, inside, -1)

    def metres(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Driven from frames ``first`` to ``last``; NaN where either is -1 or a speed between is not known."""
        known = (first >= 0) & (last >= 0) & (self.unknown[first] == self.unknown[last])
        return np.where(known, self.s[last] - self.s[first], np.nan)

    def turn(self, metres: float) -> np.ndarray:
        to = self.ahead_m(metres)
        known = (to >= 0) & (self.unturned[to] == self.unturned)
        return np.where(known, self.heading[to] - self.heading, np.nan)

    def lateral(self, metres: float, steps: int = 5) -> np.ndarray:
        aside = np.zeros(self.n)
        for k in range(1, steps + 1):
            to = self.ahead_m(metres * k / steps)
            left = np.cos(self.heading) * (self.y[to] - self.y) - np.sin(self.heading) * (self.x[to] - self.x)
            known = (to >= 0) & (self.unturned[to] == self.unturned)
            aside = np.maximum(aside, np.where(known, np.abs(left), np.nan))
        return aside

    def slowest(self, to: np.ndarray) -> np.ndarray:
        """The slowest speed from each frame to frame ``to``; NaN where that is -1."""
        own = np.arange(self.n)
        return np.where(to >= 0, least(self.v, own, np.maximum(to, own)), np.nan)

    def facts(self, accels: np.ndarray) -> dict[str, np.ndarray]:
        if self.n > 1:
            accels = np.where(np.isnan(accels), np.gradient(self.v, self.t), accels)
        first, last = runs(np.where(np.isnan(self.v), -1, self.v < STANDING_MPS))
        stands = np.where(np.isnan(self.v), np.nan, (self.v < STANDING_MPS).astype(float))
        return {
            "speed_mps": self.v,
            "accel_mps2": self._mean(accels, 0.5),
            "stopped_s": stands * (self.t - self.t[first]),
            "stands_on_s": stands * (self.t[last] - self.t),
            "min_speed_next_3s_mps": self.slowest(self.ahead_s(3.0)),
            "min_speed_next_50m_mps": self.slowest(self.ahead_m(50.0)),
            "turn_next_10m_rad": self.turn(10.0),
            "turn_next_30m_rad": self.turn(30.0),
            "turn_next_60m_rad": self.turn(60.0),
            "lateral_next_50m_m": self.lateral(50.0),
        }  # fmt: skip

    def around(self, seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """First and last frame within ``seconds`` of each."""
        first = np.searchsorted(self.t, self.t - seconds - EPSILON)
        return first, np.searchsorted(self.t, self.t + seconds + EPSILON, side="right") - 1

    def around_m(self, metres: float) -> tuple[np.ndarray, np.ndarray]:
        """First and last frame within ``metres`` driven of each."""
        first = np.searchsorted(self.s, self.s - metres - EPSILON)
        return first, np.searchsorted(self.s, self.s + metres + EPSILON, side="right") - 1

    def _mean(self, values: np.ndarray, seconds: float) -> np.ndarray:
        first, last = self.around(seconds)
        total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
        known = np.concatenate([[0], np.cumsum(~np.isnan(values))])
        held = known[last + 1] - known[first]
        return np.where(held > 0, (total[last + 1] - total[first]) / np.maximum(held, 1), np.nan)


def least(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """min(values[first[i]] … values[last[i]]) for each i, last included: n·log(n) steps in all."""
    table, width = values, 1
    out, length = np.full(len(first), np.nan), last - first + 1
    while len(table):
        here = (length >= width) & (length < 2 * width)
        out[here] = np.minimum(table[first[here]], table[last[here] - width + 1])
        table, width = (
            np.minimum(table[:-width], table[width:]) if len(table) > width else table[:0],
            2 * width,
        )
    return out


def runs(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per frame the first and the last frame of its run of one word."""
    cut = np.flatnonzero(words[1:] != words[:-1]) + 1
    bounds = np.concatenate([[0], cut, [len(words)]])
    number = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    return bounds[number], bounds[number + 1] - 1


def _share(hits: np.ndarray, of: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """hits among ``of`` within frames first to last; NaN where there is none of these."""
    top, bottom = (np.concatenate([[0], np.cumsum(x)]) for x in (hits & of, of))
    held = bottom[last + 1] - bottom[first]
    return np.where(held > 0, (top[last + 1] - top[first]) / np.maximum(held, 1), np.nan)


def _gap(told: np.ndarray, value: str | bool) -> tuple[np.ndarray, np.ndarray]:
    """Per frame the last one before and the first one after that say ``value`` (itself where it does); -1."""
    said, own = np.flatnonzero(told == value), np.arange(len(told))
    if not len(said):
        return np.full(len(told), -1), np.full(len(told), -1)
    before, after = np.searchsorted(said, own, side="right") - 1, np.searchsorted(said, own)
    return (
        np.where(before >= 0, said[before], -1),
        np.where(after < len(said), said[after.clip(max=len(said) - 1)], -1),
    )


def _of_labels(way: _Way, labels: Sequence[SceneLabel]) -> dict[str, np.ndarray]:
    if len(labels) != way.n:
        raise ValueError(f"{len(labels)} labels, {way.n} times")
    slots = ("recommended_speed_kmh", "light", "crossroad", "cones")
    told = {slot: np.array([getattr(label, slot) for label in labels], dtype=object) for slot in slots}
    own, out = np.arange(way.n), {}

    speed = told["recommended_speed_kmh"]
    asked = np.array([np.nan if v == "unknown" else float(v) / 3.6 for v in speed])
    first, last = way.around(FREE_S)
    known = np.where(np.isnan(way.v), -np.inf, way.v)
    fastest = -least(-known, first, last)
    out["above_driven_mps"] = asked - np.where(np.isfinite(fastest), fastest, np.nan)
    out["below_driven_mps"] = way.slowest(way.ahead_s(3.0)) - asked

    light = _carried(told["light"])
    lit = np.isin(light, LIT)
    first, last = runs(light)
    out["light_run_s"] = np.where(lit, way.t[last] - way.t[first], np.nan)
    ahead = lit | (way.metres(*_gap(lit, True)) < PASSED_M)
    first, last = runs(ahead)
    # A drive that ends in sight of a light, or just after, does not tell that it was passed.
    end = np.where(ahead & (way.metres(last, np.full(way.n, way.n - 1)) >= PASSED_M), last, -1)
    out["pass_m"] = way.metres(own, end)
    out["pass_speed_mps"] = way.slowest(end)
    near = np.searchsorted(way.s, way.s[end] - PASS_M).clip(min=first, max=np.maximum(end, first))
    green = _share(told["light"] == "green", np.isin(told["light"], LIT), near, np.maximum(end, near))
    out["pass_green"] = np.where(end >= 0, green, np.nan)
    stands = np.where(np.isnan(way.v), -1, way.v < STANDING_MPS)
    share = _share(told["light"] == "red", told["light"] != "unknown", *runs(stands))
    out["stand_red"] = np.where(stands == 1, share, np.nan)

    crossroad = _carried(told["crossroad"])
    ends = way.metres(own, runs(crossroad)[1])
    out["crossroad_ends_m"] = np.where(crossroad == "yes", ends, np.nan)
    for slot, value in GAPS:
        before, after = _gap(told[slot], value)
        out[f"{slot}_{value}_gap_m"] = way.metres(before, after)
        held = (before >= 0) & (after >= 0)
        out[f"{slot}_{value}_gap_s"] = np.where(held, way.t[after] - way.t[before], np.nan)
        first, last = way.around(NEAR_S) if slot == "light" else way.around_m(NEAR_M)
        share = _share(told[slot] == value, told[slot] != "unknown", first, last)
        out[f"{slot}_{value}_near"] = np.where(np.isnan(way.metres(first, last)), np.nan, share)
    return out


def _carried(told: np.ndarray) -> np.ndarray:
    """Words with each ``unknown`` replaced by the last word told before it, where there is one."""
    known = np.where(told != "unknown", np.arange(len(told)), -1)
    last = np.maximum.accumulate(known) if len(told) else known
    return np.where(last >= 0, told[last], told)
