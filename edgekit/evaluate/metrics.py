"""The metrics, under evaluate's own name; they live a floor below, where mining and training reach them."""

from edgekit.dataset.bootstrap import interval, intervals, resample
from edgekit.dataset.score import (
    CLASSES,
    DETECTED,
    counted,
    counts,
    median_kmh,
    metrics_of,
    score,
    state,
)

__all__ = [
    "CLASSES", "DETECTED", "counted", "counts", "interval", "intervals", "median_kmh", "metrics_of",
    "resample", "score", "state",
]  # fmt: skip
