"""From a confidence to a probability, and how precise the kept labels are at each coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BINS = 10  # at most; each of as many answers
DIGITS = 6  # of a curve's numbers, so that a file holds all of it
INSIDE = 1e-3  # a calibrated probability keeps this far from 0 and 1, whatever a small gold set says


class Curve(NamedTuple):
    """Probabilities at rising confidences, joined by straight lines, level beyond the ends."""

    confidence: tuple[float, ...]
    probability: tuple[float, ...]

    def at(self, confidence: float) -> float:
        return float(np.interp(confidence, self.confidence, self.probability))

    def checked(self) -> Curve:
        """Itself. Raises ValueError where it does not rise, or a probability is not inside (0, 1)."""
        x, p = (np.asarray(values, float) for values in self)
        if len(x) != len(p) or not len(x) or not (np.diff(x) > 0).all() or not np.isfinite(x).all():
            raise ValueError(f"confidences {list(x)[:5]} must rise, one for each of {len(p)} probabilities")
        if not (np.diff(p) >= 0).all() or not ((p > 0) & (p < 1)).all():
            raise ValueError(f"probabilities {list(p)[:5]} must not fall, and lie inside (0, 1)")
        return self


def rising(confidences: Sequence[float], right: Sequence[bool], rate: float, strength: float) -> Curve:
    """The curve of at most BINS bins of equal size, each drawn to ``rate`` by ``strength`` answers, then made to rise
    by pooling neighbours that fall (isotonic regression by pool-adjacent-violators: Ayer et al. 1955; for classifiers
    Zadrozny and Elkan, KDD 2002). One value of confidence never falls into two bins.
    """
    x = np.round(np.asarray(confidences, float), DIGITS)
    order = np.argsort(x, kind="stable")
    x, y = x[order], np.asarray(right, float)[order]
    wanted = [round(len(x) * k / BINS) for k in range(1, BINS)]
    cuts = sorted({int(np.searchsorted(x, x[k])) for k in wanted if 0 < k < len(x)} - {0})
    bins = [
        (xs.mean(), ys.sum(), len(ys)) for xs, ys in zip(np.split(x, cuts), np.split(y, cuts), strict=True)
    ]
    pooled: list[list[float]] = []  # [probability, weight, bins]
    for _, some, n in bins:
        pooled.append([(some + strength * rate) / (n + strength), n + strength, 1])
        while len(pooled) > 1 and pooled[-2][0] >= pooled[-1][0]:
            p, w, k = pooled.pop()
            q, v, j = pooled.pop()
            pooled.append([(p * w + q * v) / (w + v), w + v, j + k])
    values = np.repeat([p for p, _, _ in pooled], [int(k) for _, _, k in pooled])
    return Curve(
        tuple(round(float(at), DIGITS) for at, _, _ in bins),
        tuple(round(float(p), DIGITS) for p in np.clip(values, INSIDE, 1 - INSIDE)),
    )


class Point(NamedTuple):
    """Of the answers, the share ``coverage`` has a confidence of ``least`` or more; of those ``precision`` is right."""

    least: float
    coverage: float
    precision: float


def coverage_precision(confidences: Sequence[float], right: Sequence[bool]) -> list[Point]:
    """One point for each confidence that occurs, from the surest on; the last has coverage 1. Empty for no answers."""
    x, y = np.asarray(confidences, float), np.asarray(right, float)
    if len(x) != len(y):
        raise ValueError(f"{len(x)} confidences, {len(y)} verdicts")
    order = np.argsort(-x, kind="stable")
    x, y = x[order], y[order]
    last = (
        np.flatnonzero(np.append(x[1:] != x[:-1], True)) if len(x) else np.array([], int)
    )  # answers alike: one point
    kept = last + 1
    return [
        Point(float(c), float(k / len(x)), float(p))
        for c, k, p in zip(x[last], kept, np.cumsum(y)[last] / kept, strict=True)
    ]
