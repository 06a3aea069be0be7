"""What smoothing did: scored against truth where a drive has it, and counted where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset.bootstrap import interval, intervals, resample
from edgekit.dataset.score import DETECTED, counts, median_kmh, score, state
from edgekit.drives import FrameTruth
from edgekit.mine.rows import slots_of

ABSENT = {"light": "none", "obstacles": "no", "crossroad": "no"}


class Mined(NamedTuple):
    """One drive's labels, frame by frame; truth per frame or None."""

    drive: str
    scene: str
    raw: list[SceneLabel]
    smoothed: list[SceneLabel]
    truth: list[FrameTruth | None]


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


def event_counts(mined: Mined, task: str) -> dict[str, int]:
    """True events: how many, found by a raw and by a smoothed frame, erased and rescued by smoothing."""
    out = {"events": 0, "found_raw": 0, "found_smoothed": 0, "erased": 0, "rescued": 0}
    for first, last, what in events(mined.truth, task):
        raw, smoothed = (
            any(state(label, task) == what for label in labels[first:last])
            for labels in (mined.raw, mined.smoothed)
        )
        out["events"] += 1
        out["found_raw"] += raw
        out["found_smoothed"] += smoothed
        out["erased"] += raw and not smoothed
        out["rescued"] += smoothed and not raw
    return out


def measure(drives: Sequence[Mined], resamples: int, seed: int) -> dict[str, Any]:
    """mining.json: changes and flips of all drives; scores and events of those that have truth."""
    tasks: dict[str, Any] = {}
    for task in TASKS:
        changed = sum(
            slots_of(a, task) != slots_of(b, task)
            for d in drives
            for a, b in zip(d.raw, d.smoothed, strict=True)
        )
        tasks[task] = {
            "frames": sum(len(d.raw) for d in drives),
            "changed": changed,
            "flips_raw": sum(flips(d.raw, task) for d in drives),
            "flips_smoothed": sum(flips(d.smoothed, task) for d in drives),
        }
        known = [d for d in drives if all(t is not None for t in d.truth)]
        if known:
            tasks[task]["flips_truth"] = sum(flips([t.label for t in d.truth], task) for d in known)
            if task in DETECTED:
                found = [event_counts(d, task) for d in known]
                tasks[task] |= {name: sum(f[name] for f in found) for name in found[0]}
    return {"drives": len(drives), "tasks": tasks, "against_truth": against_truth(drives, resamples, seed)}


def against_truth(drives: Sequence[Mined], resamples: int, seed: int) -> dict[str, Any] | None:
    """Raw and smoothed labels scored, with 95 % intervals over scenes; None where there is no truth."""
    rows = [
        (d.scene, t, raw, smoothed)
        for d in drives
        for t, raw, smoothed in zip(d.truth, d.raw, d.smoothed, strict=True)
        if t is not None
    ]
    if not rows:
        return None
    scenes, truths = [r[0] for r in rows], [r[1].label for r in rows]
    masks = {task: [r[1].visible[task] for r in rows] for task in TASKS}
    median = median_kmh(truths)
    out: dict[str, Any] = {"frames": len(rows), "scenes": len(set(scenes))}
    drawn = {}
    for name, labels in (("raw", [r[2] for r in rows]), ("smoothed", [r[3] for r in rows])):
        per_frame = counts(truths, masks, labels, median)
        values = score(truths, masks, labels, median)
        out[name] = {
            "metrics": {k: round(v, 6) for k, v in values.items()},
            "intervals": intervals(per_frame, scenes, resamples, seed),
        }
        if len(set(scenes)) > 1:
            drawn[name] = resample(per_frame, scenes, resamples, seed)
    names = [f"{t}/f1" for t in DETECTED] + ["average", "speed/smape"]
    # The same scenes are drawn for both, so the difference is paired.
    out["difference"] = {
        name: {
            "value": round(out["smoothed"]["metrics"][name] - out["raw"]["metrics"][name], 6),
            "interval": interval(drawn["smoothed"][name] - drawn["raw"][name]) if drawn else None,
        }
        for name in names
    }
    return out
