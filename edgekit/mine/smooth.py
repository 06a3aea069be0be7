"""Temporal smoothing of pseudo-labels (driving-mllm section 3.2.1, step 2): pure functions.

A window around each frame, its length set by the vehicle's speed; a value that differs from the
window's majority becomes the majority's. The paper leaves the window's formula open: here it spans
a fixed travelled distance d, so that slow driving gets a long window and fast driving a short one.
What a majority cannot do: an event shorter than half the window always dies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

from edgekit.core.label import SLOTS, SceneLabel

EPSILON_S = 1e-6  # frame times are multiples of 1/fps in floating point


@dataclass(frozen=True)
class Window:
    """distance in metres, v_min in m/s, shortest and longest whole window in seconds.

    unknown_mps: the speed taken where none was measured.
    """

    distance_m: float = 10.0
    v_min_mps: float = 1.0
    t_min_s: float = 0.2
    t_max_s: float = 3.0
    unknown_mps: float = 10.0

    def half_width_s(self, speed_mps: float | None) -> float:
        """clip(d / (2·max(v, v_min)), t_min/2, t_max/2); the sign of the speed does not matter."""
        speed = self.unknown_mps if speed_mps is None else abs(speed_mps)
        half = self.distance_m / (2 * max(speed, self.v_min_mps))
        return min(max(half, self.t_min_s / 2), self.t_max_s / 2)


def spans(
    times_s: Sequence[float], speeds_mps: Sequence[float | None], window: Window, causal: bool = False
) -> list[tuple[int, int]]:
    """Per frame [first, last) of the frames in its window, itself included; times rise.

    causal: the past half only, what a vehicle can have.
    """
    out = []
    for i, (t, v) in enumerate(zip(times_s, speeds_mps, strict=True)):
        half = window.half_width_s(v) + EPSILON_S
        first = bisect_left(times_s, t - half)
        out.append((first, i + 1 if causal else bisect_right(times_s, t + half)))
    return out


def majority(votes: Sequence[str], own: str) -> str:
    """The value with more than half of the votes that are not unknown; ``own`` where none has."""
    told = [vote for vote in votes if vote != "unknown"]
    if told:
        value, number = Counter(told).most_common(1)[0]
        if 2 * number > len(told):
            return value
    return own


def median_speed(votes: Sequence[str], own: str) -> str:
    """The lower median of the speeds that are told (a value of the window); ``own`` where none is."""
    told = [int(vote) for vote in votes if vote != "unknown"]
    return str(median_low(told)) if told else own


def smooth_one(labels: Sequence[SceneLabel], own: int) -> SceneLabel:
    """The smoothed label of frame ``own`` from the labels of its window (``own`` counts within it).

    Each slot votes by itself. Light colour and presence are one slot and so vote together; the arrow
    and the kind are then voted on among the frames that show the winning light.
    """
    me = labels[own]
    votes = {slot: [getattr(label, slot) for label in labels] for slot in SLOTS}
    out = {slot: majority(votes[slot], getattr(me, slot)) for slot in SLOTS}
    out["recommended_speed_kmh"] = median_speed(votes["recommended_speed_kmh"], me.recommended_speed_kmh)
    light = out["light"]
    # Near is counted in frames that tell a light: one that abstains between two takes no part in this either.
    place = {i: n for n, i in enumerate(i for i, x in enumerate(labels) if i == own or x.light != "unknown")}
    agree = sorted((i for i in place if labels[i].light == light), key=lambda i: abs(place[i] - place[own]))
    for slot in ("light_arrow", "light_kind"):
        nearest = getattr(labels[agree[0]], slot)  # own where the frame itself shows that light
        out[slot] = majority([getattr(labels[i], slot) for i in agree], nearest)
    return SceneLabel(**out)


def smooth(
    labels: Sequence[SceneLabel],
    times_s: Sequence[float],
    speeds_mps: Sequence[float | None],
    window: Window | None = None,
    causal: bool = False,
) -> list[SceneLabel]:
    """Smoothed labels of one drive, frame by frame, all from the raw ones.

    labels, times_s (seconds, rising), speeds_mps (m/s or None): one each per frame.
    causal=True looks at no later frame: the demo's form.
    """
    found = spans(times_s, speeds_mps, window or Window(), causal)
    return [smooth_one(labels[first:last], i - first) for i, (first, last) in enumerate(found)]
