"""The review queue: what a person should look at, written beside a Dataset's rows as review.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.core.errors import UserError
from edgekit.core.files import Waiting, read_jsonl, write_jsonl
from edgekit.core.label import TASKS

NAME = "review.jsonl"
STRIP, REACH_S = 9, 2.0  # frames on a strip, and how far it reaches before and after the moment
MOST = 1_000_000  # entries of a queue


class Entry(BaseModel):
    """One question: is ``task`` of row ``id`` right? ``why`` in words; ``priority`` 1 is asked first.

    strip: ids of the rows around the moment, in time, itself among them. history: the task's steps.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    task: str
    why: str = ""
    priority: float = Field(0.5, ge=0, le=1)
    strip: list[str] = []
    history: list[dict[str, Any]] = []


def press(entry: dict[str, Any]) -> tuple[float, str, str]:
    """The most pressing first, equals by row and task."""
    return -entry["priority"], entry["id"], entry["task"]


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: press(vars(entry)))


class QueueWriter:
    """Writes ``root``/review.jsonl, the most pressing first; until ``finish`` entries wait in a hidden file."""

    def __init__(self, root: str | Path):
        self.path = Path(root) / NAME
        self._waiting = Waiting(self.path.with_name(".review.part"), press)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entry: Entry) -> None:
        self._waiting.add(entry.model_dump(mode="json"))

    def finish(self) -> Path:
        write_jsonl(self.path, self._waiting.sorted())
        self._waiting.close()
        return self.path


def read_queue(root: str | Path) -> list[Entry] | None:
    """The entries of ``root``/review.jsonl in order, None where there is none. Raises UserError."""
    path = Path(root) / NAME
    if not path.is_file():
        return None
    entries = []
    for number, raw in enumerate(read_jsonl(path), start=1):
        try:
            entries.append(Entry(**raw))
            if entries[-1].task not in TASKS or number > MOST:
                raise ValueError(f"task {entries[-1].task!r}" if number <= MOST else f"over {MOST} entries")
        except (ValidationError, ValueError) as error:
            raise UserError(
                f"{path}:{number}: not an entry of a review queue",
                " ".join(str(error).split())[:160],
                "run mine again, or take the line out",
            ) from None
    return in_order(entries)


def around(times_s: Sequence[float], own: int, count: int = STRIP, reach_s: float = REACH_S) -> list[int]:
    """Which frames of a drive go on the strip of frame ``own``: at most ``count``, itself among them, rising.

    times_s: the frames' times in seconds, rising. They are spread over ``reach_s`` before and after; where
    frames stand further apart than that, the next ones are taken.
    """
    times = np.asarray(times_s, dtype=np.float64)
    half = (count - 1) // 2
    wanted = {own}
    for side in (-1, 1):
        last = own
        for step in range(1, half + 1):
            target = times[own] + side * reach_s * step / half
            nearest = int(np.abs(times - target).argmin())
            last = nearest if (nearest - last) * side > 0 else last + side
            if 0 <= last < len(times):
                wanted.add(last)
    # At a drive's end there is nothing on one side: the nearest of the rest fill the strip.
    nearest_first = np.argsort(np.abs(times - times[own]), kind="stable").tolist()
    wanted.update([i for i in nearest_first if i not in wanted][: count - len(wanted)])
    return sorted(wanted)
