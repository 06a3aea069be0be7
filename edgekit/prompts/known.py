"""What a Dataset's rows tell of their frames before the second question: what mining knows of a drive's, less what
rows do not hold (the yaw rate, the camera's place)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgekit.core.box import Box, merged
from edgekit.dataset import Sample
from edgekit.engine.answerer import Answer
from edgekit.library import known
from edgekit.library.dynamic import Known

NEAR_S = 1.0  # rows farther apart tell nothing of how hard the car brakes


def in_drives(rows: Sequence[Sample]) -> list[list[int]]:
    """The numbers of each drive's rows, in the order of time; a row without a drive is on its own."""
    drives: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        drives.setdefault(f"drive {row.drive}" if row.drive else f"row {i}", []).append(i)
    return [sorted(found, key=lambda i: (rows[i].t_s, rows[i].frame)) for found in drives.values()]


def known_of(drive: Sequence[Sample], firsts: Sequence[Answer], aids: bool, language: str) -> Iterator[Known]:
    """Of one drive's rows, in time, with their first answers."""
    for i, (row, answer) in enumerate(zip(drive, firsts, strict=True)):
        yield known(
            answer, boxes_of(row), tags=row.tags, speed_mps=row.speed_mps, accel_mps2=accel_of(drive, i), aids=aids,
            language=language,
        )  # fmt: skip


def accel_of(drive: Sequence[Sample], i: int) -> float | None:
    """m/s², from the speeds of the rows before and after; None where these are unknown or farther than ``NEAR_S``."""
    near = [
        row for row in drive[max(i - 1, 0) : i + 2]
        if row.speed_mps is not None and abs(row.t_s - drive[i].t_s) <= NEAR_S
    ]  # fmt: skip
    seconds = near[-1].t_s - near[0].t_s if near else 0.0
    return (near[-1].speed_mps - near[0].speed_mps) / seconds if seconds > 0 else None


def boxes_of(row: Sample) -> list[Box]:
    """The boxes that experts left in the history of the row's tasks, in pixels of the stored image.

    None where they are not in that form (a Dataset may come from anywhere).
    """
    steps = [step for mark in row.tasks.values() for step in mark.history if step.get("boxes")]
    try:
        return merged(
            Box(str(b["name"]), *(float(b[k]) for k in Box._fields[1:]))
            for step in steps
            for b in step["boxes"]
        )
    except (KeyError, TypeError, ValueError):
        return []
