"""Intervals by resampling whole scenes: frames of one scene are no independent evidence.

Source: the cluster bootstrap (Field and Welsh 2007), percentile intervals. A resample is a row of
weights (how often each scene was drawn), so all of them are one matrix product with the scenes' sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.dataset.score import Counts, metrics_of

RESAMPLES = 1000


def scene_sums(per_frame: Counts, scenes: Sequence[str]) -> Counts:
    """Counts summed by scene: (n, …) → (scenes, …), scenes in sorted order."""
    names, group = np.unique(np.asarray(scenes, dtype=str), return_inverse=True)
    out = {}
    for name, values in per_frame.items():
        summed = np.zeros((len(names), *values.shape[1:]))
        np.add.at(summed, group, values)
        out[name] = summed
    return out


def draw(scenes: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, scenes): how often each scene is drawn, each row summing to ``scenes``."""
    random = np.random.default_rng(seed)
    return random.multinomial(scenes, np.full(scenes, 1 / scenes), size=resamples).astype(float)


def resample(
    per_frame: Counts, scenes: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Every metric in every resample, name → (resamples,)."""
    sums = scene_sums(per_frame, scenes)
    weights = draw(len(set(scenes)), resamples, seed)
    return metrics_of({name: np.tensordot(weights, values, axes=1) for name, values in sums.items()})


def interval(values: np.ndarray, level: float = 0.95) -> list[float]:
    """[low, high] percentiles."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return [round(float(low), 6), round(float(high), 6)]


def intervals(
    per_frame: Counts, scenes: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, list[float]]:
    """95 % interval of each metric, name → [low, high]; empty for fewer than two scenes."""
    if len(set(scenes)) < 2:
        return {}
    drawn = resample(per_frame, scenes, resamples, seed)
    return {name: interval(v) for name, v in drawn.items() if not name.endswith(("/frames", "/chance"))}
