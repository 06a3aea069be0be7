"""Which frames calibrate: evenly over what they show, so that the rare is seen too."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from edgekit.core.errors import UserError
from edgekit.dataset import Sample


def stratum(row: Sample) -> str:
    """What a frame shows, coarsely: light, something in the way, crossroad, and its tags."""
    label = row.label
    blocked = label.cones == "yes" or label.obstacle not in ("none", "unknown")
    shown = [f"light={label.light}", f"blocked={'yes' if blocked else 'no'}", f"crossroad={label.crossroad}"]
    return " ".join([*shown, *sorted(row.tags)])


def choose(rows: Sequence[Sample], frames: int, seed: int) -> list[Sample]:
    """``frames`` of ``rows``, by turns from every stratum; the same rows for the same seed.

    Raises UserError where there are fewer rows than that.
    """
    if len(rows) < frames:
        raise UserError(
            "quantize: too few train frames to calibrate and check on",
            f"{frames} are asked for, the Dataset's train split has {len(rows)} left",
            "give a larger Dataset, or lower frames and check_frames",
        )
    groups: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        groups[stratum(row)].append(row)
    for group in groups.values():
        group.sort(key=lambda row: hashlib.sha256(f"{seed} {row.id}".encode()).digest())
    chosen: list[Sample] = []
    while len(chosen) < frames:
        for name in sorted(groups):
            if groups[name] and len(chosen) < frames:
                chosen.append(groups[name].pop(0))
    return chosen
