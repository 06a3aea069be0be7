"""Where the time goes: a list of milliseconds per stage, told as p50, p95 and p99."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

# The stages of the loop, in order. The answerer tells preprocess … decode_answer itself where it
# can; where it cannot, only their sum ``answer`` is known.
STAGES = ("decode_frame", "preprocess", "vision", "prefill", "decode_answer", "answer", "draw")
_RECENT = 50  # the live page looks at this many


class Stages:
    """Milliseconds per stage; safe to write from one thread and read from another."""

    def __init__(self) -> None:
        self._ms: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, ms: float) -> None:
        with self._lock:
            self._ms.setdefault(stage, []).append(ms)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.add(stage, (time.perf_counter() - began) * 1e3)

    def summary(self) -> dict[str, dict[str, float]]:
        """Per stage: n, p50, p95, p99 and max in ms (linear interpolation between samples)."""
        with self._lock:
            ms = {stage: list(values) for stage, values in self._ms.items()}
        order = [s for s in STAGES if s in ms] + sorted(s for s in ms if s not in STAGES)
        return {stage: quantiles(ms[stage]) for stage in order}

    def recent(self) -> dict[str, float]:
        """Per stage the median of the last few, in ms."""
        with self._lock:
            ms = {stage: values[-_RECENT:] for stage, values in self._ms.items()}
        return {stage: round(float(np.median(ms[stage])), 2) for stage in STAGES if stage in ms}


def quantiles(ms: list[float]) -> dict[str, float]:
    """n, p50, p95, p99, max of milliseconds; an empty list gives n = 0 only."""
    if not ms:
        return {"n": 0}
    p50, p95, p99 = (round(float(v), 3) for v in np.percentile(ms, (50, 95, 99)))
    return {"n": len(ms), "p50": p50, "p95": p95, "p99": p99, "max": round(max(ms), 3)}
