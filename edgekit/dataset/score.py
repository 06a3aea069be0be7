"""Labels against truth: the paper's metrics (driving-mllm section 4), from counts that add up.

Every metric is a function of sums over frames. So a whole set, a slice of it and a bootstrap
resample are one computation: per-frame counts (``counts``), summed somehow, then ``metrics_of``.
Pure numpy; training, mining and evaluation call the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.core.label import SPEEDS, TASKS, SceneLabel
from edgekit.dataset.sample import Sample

LIGHT_STATES = ("none", "red", "yellow", "green", "off")
_YES_NO = ("no", "yes")
CLASSES: dict[str, tuple[str, ...]] = {
    "speed": SPEEDS, "light": LIGHT_STATES, "obstacles": _YES_NO, "crossroad": _YES_NO,
}  # fmt: skip
DETECTED = ("light", "obstacles", "crossroad")  # the tasks that have precision and recall

Counts = dict[str, np.ndarray]


def state(label: SceneLabel, task: str) -> str:
    """The one word that a task is scored on; ``unknown`` where the label does not tell.

    Obstacles: yes where cones stand or an obstacle is named, no where both are denied.
    """
    if task == "speed":
        return label.recommended_speed_kmh
    if task == "light":
        return label.light
    if task == "crossroad":
        return label.crossroad
    if label.cones == "yes" or label.obstacle not in ("none", "unknown"):
        return "yes"
    return "no" if label.cones == "no" and label.obstacle == "none" else "unknown"


def masks_of(rows: Sequence[Sample]) -> dict[str, list[bool]]:
    """Per task: is the frame scored? Not where the task is dropped (truth not visible, or not trusted)."""
    return {task: [row.tasks[task].status != "dropped" for row in rows] for task in TASKS}


def counted(
    truths: Sequence[SceneLabel], masks: Mapping[str, Sequence[bool]] | None = None
) -> dict[str, np.ndarray]:
    """Per task bool (n,): is the frame scored? Not where ``masks`` says no, nor where truth is unknown."""
    known = {t: np.array([state(x, t) != "unknown" for x in truths], dtype=bool) for t in TASKS}
    for task, mask in (masks or {}).items():
        known[task] = known[task] & np.asarray(mask, dtype=bool)
    return known


def counts(
    truths: Sequence[SceneLabel],
    masks: Mapping[str, Sequence[bool]] | None,
    answers: Sequence[SceneLabel],
    train_median_kmh: float,
) -> Counts:
    """Per-frame counts, name → float64 (n,) or (n, classes).

    A detected task: a wrong colour is a false positive and a false negative; ``unknown`` is not
    predicted (a false negative where something is there). Speed: the sMAPE term is 2 for unknown,
    0 where both are 0; R² takes the train median for unknown.
    """
    if len(truths) != len(answers):
        raise ValueError(f"{len(truths)} truths, {len(answers)} answers")
    known = counted(truths, masks)
    out: Counts = {}
    for task in TASKS:
        true = np.array([state(x, task) for x in truths], dtype=object)
        said = np.array([state(x, task) for x in answers], dtype=object)
        use = known[task]
        out[f"{task}/frames"] = use.astype(float)
        out[f"{task}/answered"] = (use & (said != "unknown")).astype(float)
        classes = np.array(CLASSES[task], dtype=object)
        is_class = (true[:, None] == classes[None]) & use[:, None]  # (n, classes)
        out[f"{task}/class"] = is_class.astype(float)
        out[f"{task}/class_right"] = (is_class & (said == true)[:, None]).astype(float)
        if task in DETECTED:
            absent = "none" if task == "light" else "no"
            there = use & (true != absent)
            claimed = use & (said != absent) & (said != "unknown")
            right = said == true
            out[f"{task}/tp"] = (there & claimed & right).astype(float)
            out[f"{task}/fp"] = (claimed & ~right).astype(float)
            out[f"{task}/fn"] = (there & ~(claimed & right)).astype(float)
        else:
            out |= _speed_counts(true, said, use, train_median_kmh)
    return out


def _speed_counts(true: np.ndarray, said: np.ndarray, use: np.ndarray, median: float) -> Counts:
    y = np.array([float(v) if u else 0.0 for v, u in zip(true, use, strict=True)])
    told = said != "unknown"
    guess = np.array([float(v) if t else 0.0 for v, t in zip(said, told, strict=True)])
    middle = (np.abs(y) + np.abs(guess)) / 2
    term = np.divide(np.abs(y - guess), middle, out=np.zeros_like(y), where=middle > 0)
    filled = np.where(told, guess, median)
    return {
        "speed/smape": np.where(told, term, 2.0) * use,
        "speed/y": y * use,
        "speed/y2": y**2 * use,
        "speed/error2": (y - filled) ** 2 * use,
    }


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def metrics_of(sums: Counts) -> dict[str, np.ndarray]:
    """Metrics from summed counts; any leading dimensions (a bootstrap's resamples) go through.

    Names: ``<task>/precision|recall|f1``, ``speed/smape``, ``speed/r2``, ``average`` (the mean of the
    nine P, R, F1), ``<task>/balanced``, ``<task>/chance``, ``<task>/coverage``, ``<task>/frames``.
    balanced = mean recall over the classes that truth holds; chance = 1 / how many these are.
    """
    out: dict[str, np.ndarray] = {}
    nine = []
    for task in TASKS:
        frames = np.asarray(sums[f"{task}/frames"], float)
        if task in DETECTED:
            tp, fp, fn = (sums[f"{task}/{k}"] for k in ("tp", "fp", "fn"))
            precision, recall = _over(tp, tp + fp), _over(tp, tp + fn)
            f1 = _over(2 * precision * recall, precision + recall)
            out |= {f"{task}/precision": precision, f"{task}/recall": recall, f"{task}/f1": f1}
            nine += [precision, recall, f1]
        else:
            out["speed/smape"] = _over(sums["speed/smape"], frames)
            total = sums["speed/y2"] - _over(sums["speed/y"] ** 2, frames)
            # Where all true speeds are one, R² has no meaning: 0, as every 0/0 here.
            total = np.where(total > 1e-9, total, 0.0)
            out["speed/r2"] = np.where(total > 0, 1 - _over(sums["speed/error2"], total), 0.0)
        held = sums[f"{task}/class"] > 0
        kinds = held.sum(axis=-1)
        recalls = _over(sums[f"{task}/class_right"], sums[f"{task}/class"])
        out[f"{task}/balanced"] = _over(recalls.sum(axis=-1), kinds)
        out[f"{task}/chance"] = _over(1, kinds)
        out[f"{task}/coverage"] = _over(sums[f"{task}/answered"], frames)
        out[f"{task}/frames"] = frames
    out["average"] = np.mean(nine, axis=0)
    return out


def score(
    truths: Sequence[SceneLabel],
    masks: Mapping[str, Sequence[bool]] | None,
    answers: Sequence[SceneLabel],
    train_median_kmh: float | None = None,
) -> dict[str, float]:
    """All metrics of answers against truths, name → float (names: ``metrics_of``).

    masks: per task bool (n,), False = not scored; None = all. train_median_kmh: what R² takes for an
    unknown speed; None = the median of the truths.
    """
    median = median_kmh(truths) if train_median_kmh is None else train_median_kmh
    per_frame = counts(truths, masks, answers, median)
    sums = {name: values.sum(axis=0) for name, values in per_frame.items()}
    return {name: float(value) for name, value in metrics_of(sums).items()}


def median_kmh(labels: Sequence[SceneLabel]) -> float:
    """The median recommended speed in km/h of the labels that tell one; 0 where none does."""
    known = [label.speed_kmh for label in labels if label.speed_kmh is not None]
    return float(np.median(known)) if known else 0.0
