"""Temporal smoothing of pseudo-labels (driving-mllm section 3.2.1, step 2): pure functions.

A window around each frame, its length set by the vehicle's speed; a value that differs from the
window's majority becomes the majority's. The paper leaves the window's formula open: here it spans
a fixed travelled distance d, so that slow driving gets a long window and fast driving a short one.
Each task may have a window of its own. What a majority cannot do: an event shorter than half the window
always dies.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from edgekit.core.errors import UserError, suggestion
from edgekit.core.label import SLOTS, TASKS, SceneLabel, label_of

EPSILON_S = 1e-6  # frame times are multiples of 1/fps in floating point
OTHERS = ""  # in windows by task: the one of all tasks that are not named


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


Windows = Window | Mapping[str, Window]  # one for all tasks, or by task


def spans(
    times_s: Sequence[float], speeds_mps: Sequence[float | None], window: Window, causal: bool = False
) -> list[tuple[int, int]]:
    """Per frame [first, last) of the frames in its window, itself included; times rise.

    causal: the past half only, what a vehicle can have.
    """
    return list(_each_span(times_s, speeds_mps, window, causal))


def _each_span(
    times_s: Sequence[float], speeds_mps: Sequence[float | None], window: Window, causal: bool
) -> Iterator[tuple[int, int]]:
    for i, (t, v) in enumerate(zip(times_s, speeds_mps, strict=True)):
        half = window.half_width_s(v) + EPSILON_S
        first = bisect_left(times_s, t - half)
        yield first, i + 1 if causal else bisect_right(times_s, t + half)


def majority(votes: Sequence[str], own: str) -> str:
    """The value with more than half of the votes that are not unknown; ``own`` where none has."""
    told = [vote for vote in votes if vote != "unknown"]
    if told:
        value, number = told[0], told.count(told[0])
        if 2 * number <= len(told):  # seldom: most windows are of one mind
            value, number = Counter(told).most_common(1)[0]
        if 2 * number > len(told):
            return value
    return own


def median_speed(votes: Sequence[str], own: str) -> str:
    """The lower median of the speeds that are told (a value of the window); ``own`` where none is."""
    told = [int(vote) for vote in votes if vote != "unknown"]
    return str(median_low(told)) if told else own


def _voted(labels: Sequence[SceneLabel], own: int, slots: Iterable[str]) -> dict[str, str]:
    """What the window's frames make of ``slots`` at frame ``own``; see ``smooth_one``."""
    me, out = labels[own], {}
    for slot in slots:
        vote = median_speed if slot == "recommended_speed_kmh" else majority
        out[slot] = vote([getattr(label, slot) for label in labels], getattr(me, slot))
    if "light" not in out:
        return out
    light = out["light"]
    # Near is counted in frames that tell a light: one that abstains between two takes no part in this either.
    place = {i: n for n, i in enumerate(i for i, x in enumerate(labels) if i == own or x.light != "unknown")}
    agree = sorted((i for i in place if labels[i].light == light), key=lambda i: abs(place[i] - place[own]))
    for slot in ("light_arrow", "light_kind"):
        nearest = getattr(labels[agree[0]], slot)  # own where the frame itself shows that light
        out[slot] = majority([getattr(labels[i], slot) for i in agree], nearest)
    return out


def smooth_one(labels: Sequence[SceneLabel], own: int) -> SceneLabel:
    """The smoothed label of frame ``own`` from the labels of its window (``own`` counts within it).

    Each slot votes by itself. Light colour and presence are one slot and so vote together; the arrow
    and the kind are then voted on among the frames that show the winning light.
    """
    return label_of(_voted(labels, own, SLOTS))


def nearest_light(labels: Sequence[SceneLabel], own: int, light: str) -> dict[str, str]:
    """Arrow and kind of the frame nearest to ``own``, itself first, that shows this light; empty where none does."""
    for away in range(len(labels)):
        near = [labels[i] for i in (own - away, own + away) if 0 <= i < len(labels)]
        like = next((x for x in near if x.light == light), None)
        if like:
            return {"light_arrow": like.light_arrow, "light_kind": like.light_kind}
    return {}


def by_task(windows: Windows) -> dict[str, Window]:
    """The window of each task. Raises UserError for a name that is no task."""
    if isinstance(windows, Window):
        return dict.fromkeys(TASKS, windows)
    for name in windows:
        if name not in (*TASKS, OTHERS):
            raise UserError(
                f"smoothing: no task {name!r}", suggestion(name, TASKS), f"name one of {', '.join(TASKS)}"
            )
    return {task: windows.get(task) or windows.get(OTHERS) or Window() for task in TASKS}


def smooth(
    labels: Sequence[SceneLabel],
    times_s: Sequence[float],
    speeds_mps: Sequence[float | None],
    windows: Windows | None = None,
    causal: bool = False,
) -> list[SceneLabel]:
    """Smoothed labels of one drive, frame by frame, all from the raw ones.

    labels, times_s (seconds, rising), speeds_mps (m/s or None): one each per frame. windows: one for all
    tasks or one by task, where a task that is not named takes that of ``""``.
    causal=True looks at no later frame: the demo's form.
    """
    chosen = by_task(windows or Window())
    different = list(dict.fromkeys(chosen.values()))
    voters = [
        [slot for task, its in chosen.items() if its == window for slot in TASKS[task]]
        for window in different
    ]
    reach = (_each_span(times_s, speeds_mps, window, causal) for window in different)
    out = []
    for i, (_, *its) in enumerate(zip(labels, *reach, strict=True)):
        values: dict[str, str] = {}
        for slots, (first, last) in zip(voters, its, strict=True):
            values |= _voted(labels[first:last], i - first, slots)
        out.append(label_of(values))
    return out
