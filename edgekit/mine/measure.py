"""What each step of mining did: scored against truth where a drive has it, and counted where it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset.bootstrap import interval, intervals, resample
from edgekit.dataset.score import DETECTED, counts, median_kmh, score, state
from edgekit.drives import FrameTruth
from edgekit.mine.rows import slots_of

ABSENT = {"light": "none", "obstacles": "no", "crossroad": "no"}


class Mined(NamedTuple):
    """One drive's labels, frame by frame.

    steps: as each step left them, in order, the first the teacher's own (``raw``). truth: per frame or None.
    windows: frames in the smoothing window of each frame, by task; empty where nothing was smoothed.
    """

    drive: str
    scene: str
    steps: dict[str, list[SceneLabel]]
    truth: list[FrameTruth | None]
    windows: Mapping[str, Sequence[int]] = {}


def flips(labels: Sequence[SceneLabel], task: str) -> int:
    """How often the task's state differs from the frame before."""
    states = [state(label, task) for label in labels]
    return sum(a != b for a, b in zip(states, states[1:], strict=False))


def events(truth: Sequence[FrameTruth | None], task: str) -> list[tuple[int, int, str]]:
    """Runs [first, last) of one present state that the camera can see: a light's red, a crossroad."""
    states = [state(t.label, task) if t is not None and t.visible[task] else ABSENT[task] for t in truth]
    out, first = [], 0
    for i in range(1, len(states) + 1):
        if i == len(states) or states[i] != states[first]:
            if states[first] not in (ABSENT[task], "unknown"):
                out.append((first, i, states[first]))
            first = i
    return out


def event_counts(mined: Mined, task: str) -> dict[str, Any]:
    """True events, and per step how many some frame of the label names; what a later step erased of what the raw
    answers named, and what it rescued.

    short: events of at most half their window's frames, which a majority always outvotes; they are counted in
    ``events`` too, and apart in ``short_erased``.
    """
    first_step, *later = mined.steps
    out: dict[str, Any] = {"events": 0, "short": 0, "found": dict.fromkeys(mined.steps, 0)}
    for name in ("erased", "short_erased", "rescued"):
        out[name] = dict.fromkeys(later, 0)
    for first, last, what in events(mined.truth, task):
        found = {
            step: any(state(label, task) == what for label in labels[first:last])
            for step, labels in mined.steps.items()
        }
        window = mined.windows.get(task)
        short = bool(window) and 2 * (last - first) <= window[(first + last) // 2]
        out["events"] += 1
        out["short"] += short
        for step, yes in found.items():
            out["found"][step] += yes
        for step in later:
            out["erased"][step] += found[first_step] and not found[step]
            out["short_erased"][step] += short and found[first_step] and not found[step]
            out["rescued"][step] += found[step] and not found[first_step]
    return out


class Tally:
    """Counts drives one by one, so that none has to stay in memory: of frames without truth nothing is kept."""

    def __init__(self) -> None:
        self.drives, self.steps = 0, []
        self._tasks: dict[str, Any] = {task: {} for task in TASKS}
        self._frames = Frames([], [], {task: [] for task in TASKS}, {})

    def add(self, mined: Mined) -> None:
        self.drives += 1
        self.steps = list(mined.steps)
        for task, row in self._tasks.items():
            _count(row, told_of(mined, task))
        self._frames.take(mined)

    def report(self, resamples: int, seed: int) -> dict[str, Any]:
        """mining.json: changes and flips of all drives; scores and events of those that have truth."""
        return {
            "drives": self.drives,
            "steps": self.steps,
            "tasks": self._tasks if self.drives else {},
            "against_truth": against_truth(self._frames, resamples, seed),
        }


def told_of(mined: Mined, task: str) -> dict[str, Any]:
    """One drive's counts of a task; flips of the truth and events where every frame has truth."""
    steps = list(mined.steps)
    row: dict[str, Any] = {
        "frames": len(mined.truth),
        "changed": {b: _changed(mined, a, b, task) for a, b in zip(steps, steps[1:], strict=False)},
        "flips": {step: flips(mined.steps[step], task) for step in steps},
    }
    if all(truth is not None for truth in mined.truth):
        row["flips"]["truth"] = flips([truth.label for truth in mined.truth], task)
        if task in DETECTED:
            row |= event_counts(mined, task)
    return row


class Frames(NamedTuple):
    """Frames with truth, a list each of n: scenes, true labels, per task whether it could be seen, labels by step."""

    scenes: list[str]
    truths: list[SceneLabel]
    visible: dict[str, list[bool]]
    steps: dict[str, list[SceneLabel]]

    def take(self, mined: Mined) -> None:
        for i, truth in enumerate(mined.truth):
            if truth is None:
                continue
            self.scenes.append(mined.scene)
            self.truths.append(truth.label)
            for task, column in self.visible.items():
                column.append(truth.visible[task])
            for step, labels in mined.steps.items():
                self.steps.setdefault(step, []).append(labels[i])


def _changed(mined: Mined, before: str, after: str, task: str) -> int:
    pairs = zip(mined.steps[before], mined.steps[after], strict=True)
    return sum(a is not b and slots_of(a, task) != slots_of(b, task) for a, b in pairs)


def _count(total: dict[str, Any], more: dict[str, Any]) -> None:
    """Adds the numbers of ``more`` to those of ``total``, and those in a dict of them one by one."""
    for name, value in more.items():
        if isinstance(value, dict):
            _count(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def against_truth(frames: Frames, resamples: int, seed: int) -> dict[str, Any] | None:
    """Every step's labels scored, with 95 % intervals over scenes; None where there is no truth."""
    scenes, truths, masks, steps = frames
    if not truths:
        return None
    median = median_kmh(truths)
    out: dict[str, Any] = {"frames": len(truths), "scenes": len(set(scenes))}
    drawn = {}
    for step, labels in steps.items():
        per_frame = counts(truths, masks, labels, median)
        values = score(truths, masks, labels, median)
        out[step] = {
            "metrics": {k: round(v, 6) for k, v in values.items()},
            "intervals": intervals(per_frame, scenes, resamples, seed),
        }
        if len(set(scenes)) > 1:
            drawn[step] = resample(per_frame, scenes, resamples, seed)
    first, *later = steps
    names = [f"{t}/f1" for t in DETECTED] + ["average", "speed/smape"]
    # The same scenes are drawn for both, so the difference is paired.
    out["difference"] = {
        step: {
            name: {
                "value": round(out[step]["metrics"][name] - out[first]["metrics"][name], 6),
                "interval": interval(drawn[step][name] - drawn[first][name]) if drawn else None,
            }
            for name in names
        }
        for step in later
    }
    return out
