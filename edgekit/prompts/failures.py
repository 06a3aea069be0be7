"""What went wrong, grouped: the task, the slice (a tag, or what kind of thing it is), true and said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset import Sample
from edgekit.dataset.score import state
from edgekit.engine.answerer import Answer

# A speed whose sMAPE term is above this failed: 40 said for 50 passes (0.22), 40 for 60 does not (0.4).
FAR = 0.3


class Group(NamedTuple):
    """Failures of one kind. slice: a tag, a kind of thing (toll, person), or "" for all.

    rows: indices of the failed rows; frames: how many rows of the slice have that truth.
    """

    task: str
    slice: str
    true: str
    said: str
    rows: tuple[int, ...]
    frames: int

    @property
    def rate(self) -> float:
        return len(self.rows) / self.frames

    @property
    def name(self) -> str:
        return f"{self.task}{f' ({self.slice})' if self.slice else ''}: {self.true} answered as {self.said}"

    def record(self) -> dict[str, object]:
        return {
            "task": self.task, "slice": self.slice, "true": self.true, "said": self.said,
            "failed": len(self.rows), "frames": self.frames,
        }  # fmt: skip


def grouped(rows: Sequence[Sample], answers: Sequence[Answer]) -> list[Group]:
    """The groups, the weightiest first: many failures, and most of what the slice holds of that truth.

    A slice whose failures are all of the group's is said once, under the narrower name.
    """
    failed: dict[tuple[str, str, str, str], list[int]] = {}
    frames: dict[tuple[str, str, str], int] = {}
    for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        for task in TASKS:
            if row.tasks[task].status == "dropped" or (true := truth_of(row.label, task)) == "unknown":
                continue
            said = said_of(row.label, answer, task)
            for name in ("", *slices_of(row, task)):
                frames[task, name, true] = frames.get((task, name, true), 0) + 1
                if said:
                    failed.setdefault((task, name, true, said), []).append(i)
    groups = [
        Group(task, name, true, said, tuple(found), frames[task, name, true])
        for (task, name, true, said), found in failed.items()
    ]
    groups.sort(key=lambda g: (-len(g.rows) * g.rate, not g.slice, g[:4]))
    seen: set[tuple] = set()
    return [g for g in groups if (key := (g.task, g.true, g.said, g.rows)) not in seen and not seen.add(key)]


def slices_of(row: Sample, task: str) -> list[str]:
    """The row's tags, and what kind of thing the task is about in it."""
    label = row.label
    kinds = {
        "light": [label.light_kind, f"{label.light_arrow}_arrow"],
        "obstacles": ["cones" if label.cones == "yes" else "", label.obstacle],
        "crossroad": ["zebra" if label.zebra == "yes" else ""],
    }.get(task, [])
    vague = ("", "none", "unknown", "any_arrow", "none_arrow", "unknown_arrow")
    return [*dict.fromkeys([*row.tags, *(kind for kind in kinds if kind not in vague)])]


def truth_of(label: SceneLabel, task: str) -> str:
    """The state that the task is scored on; of speed only whether the car shall stop or go."""
    true = state(label, task)
    return true if task != "speed" or true == "unknown" else "stop" if true == "0" else "go"


def said_of(label: SceneLabel, answer: Answer, task: str) -> str:
    """What was answered instead of the truth; empty where it is right, ``unparsed`` where it is no answer."""
    if answer.label is None:
        return "unparsed"
    true, said = state(label, task), state(answer.label, task)
    if task != "speed" or said == "unknown":
        return "" if said == true else said
    y, guess = float(true), float(said)
    if y == guess or abs(y - guess) / ((y + guess) / 2) <= FAR:
        return ""
    return "too_fast" if guess > y else "too_slow"
