"""Speed, memory and size: the numbers that depend on the machine, kept apart from the digest."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.engine.answerer import Answerer


def latencies_ms(answerer: Answerer, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[float]:
    """Milliseconds of each question asked alone, after one that is not counted."""
    if not images:
        return []
    answerer.answer([images[0]], [prompts[0]])
    out = []
    for image, prompt in zip(images, prompts, strict=True):
        began = time.perf_counter()
        answerer.answer([image], [prompt])
        out.append((time.perf_counter() - began) * 1000)
    return out


def reset_peak() -> None:
    """Starts the process's peak memory anew where Linux lets it (else it is of its whole life)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float:
    """The process's peak resident memory in MB since ``reset_peak``, libraries included."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def size_mb(folder: Path) -> float:
    """MB (10^6 bytes) of what runs: a Checkpoint's or Bundle's own files.

    What lies in folders beside them does not run: the student before, an adapter, another layout of
    the same weights, golden frames.
    """
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6


def timing(
    name: str, per_s: float | None, alone_ms: Sequence[float], batch: int, folder: Path | None,
    passes: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """timing.json. A port's memory and size are not ours to measure: None."""
    p50, p95 = (float(np.percentile(alone_ms, q)) if len(alone_ms) else None for q in (50, 95))
    return {
        "model": name,  # it tells of the place, not of the content, so it stands here
        "answers_per_s": None if per_s is None else round(per_s, 3),
        "batch": batch,
        "latency_ms_p50": None if p50 is None else round(p50, 2),
        "latency_ms_p95": None if p95 is None else round(p95, 2),
        "latency_frames": len(alone_ms),
        "decoder_passes_mean": round(float(np.mean(passes)), 3) if len(passes) else None,
        "peak_memory_mb": None if folder is None else round(peak_memory_mb(), 1),
        "disk_mb": None if folder is None else round(size_mb(folder), 2),
    }
