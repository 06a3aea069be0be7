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


def measure(drives: Sequence[Mined], resamples: int, seed: int) -> dict[str, Any]:
    """mining.json: changes and flips of all drives; scores and events of those that have truth."""
    steps = list(drives[0].steps) if drives else []
    known = [d for d in drives if all(t is not None for t in d.truth)]
    tasks: dict[str, Any] = {}
    for task in TASKS:
        row = tasks[task] = {
            "frames": sum(len(d.truth) for d in drives),
            "changed": {
                b: sum(_changed(d, a, b, task) for d in drives)
                for a, b in zip(steps, steps[1:], strict=False)
            },
            "flips": {step: sum(flips(d.steps[step], task) for d in drives) for step in steps},
        }
        if known:
            row["flips"]["truth"] = sum(flips([t.label for t in d.truth], task) for d in known)
            if task in DETECTED:
                row |= _summed([event_counts(d, task) for d in known])
    return {
        "drives": len(drives),
        "steps": steps,
        "tasks": tasks,
        "against_truth": against_truth(drives, resamples, seed),
    }


def _changed(mined: Mined, before: str, after: str, task: str) -> int:
    pairs = zip(mined.steps[before], mined.steps[after], strict=True)
    return sum(a is not b and slots_of(a, task) != slots_of(b, task) for a, b in pairs)


def _summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers added up, and those in a dict of them one by one."""
    return {
        name: {step: sum(f[name][step] for f in found) for step in value}
        if isinstance(value, dict)
        else sum(f[name] for f in found)
        for name, value in found[0].items()
    }


def against_truth(drives: Sequence[Mined], resamples: int, seed: int) -> dict[str, Any] | None:
    """Every step's labels scored, with 95 % intervals over scenes; None where there is no truth."""
    rows = [
        (d.scene, truth, {step: labels[i] for step, labels in d.steps.items()})
        for d in drives
        for i, truth in enumerate(d.truth)
        if truth is not None
    ]
    if not rows:
        return None
    scenes, truths = [r[0] for r in rows], [r[1].label for r in rows]
    masks = {task: [r[1].visible[task] for r in rows] for task in TASKS}
    median = median_kmh(truths)
    out: dict[str, Any] = {"frames": len(rows), "scenes": len(set(scenes))}
    drawn = {}
    for step in rows[0][2]:
        labels = [r[2][step] for r in rows]
        per_frame = counts(truths, masks, labels, median)
        values = score(truths, masks, labels, median)
        out[step] = {
            "metrics": {k: round(v, 6) for k, v in values.items()},
            "intervals": intervals(per_frame, scenes, resamples, seed),
        }
        if len(set(scenes)) > 1:
            drawn[step] = resample(per_frame, scenes, resamples, seed)
    first, *later = rows[0][2]
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
