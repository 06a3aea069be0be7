"""human.jsonl: a person's answers, appended one by one and never rewritten."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from edgekit.core.errors import UserError
from edgekit.core.files import append_jsonl, read_jsonl
from edgekit.core.label import SLOTS, TASKS, SceneLabel

NAME = "human.jsonl"


class Correction(NamedTuple):
    """What ``by`` said of a row's task, all its slots, at ``t`` (seconds since 1970).

    slots None: the newest answer to that question is withdrawn. image: sha256 of the picture that was looked
    at; dataset: digest of the Dataset that it was in. Empty where the line does not tell.
    """

    id: str
    task: str
    slots: dict[str, str] | None
    by: str
    t: float
    dataset: str = ""
    image: str = ""


def check_slots(task: str, slots: object) -> dict[str, str]:
    """``slots`` in the task's own order. Raises ValueError, in words, for what no label can say."""
    if task not in TASKS:
        raise ValueError(f"no task {task!r}; tasks are {', '.join(TASKS)}")
    if not isinstance(slots, Mapping) or set(slots) != set(TASKS[task]):
        raise ValueError(f"{task} wants the slots {', '.join(TASKS[task])}")
    for slot in TASKS[task]:
        if slots[slot] not in SLOTS[slot]:
            raise ValueError(f"{slot}={slots[slot]!r} is not one of {', '.join(SLOTS[slot])}")
    try:
        SceneLabel(**slots)
    except ValidationError as error:  # a light's arrow against the light
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return {slot: slots[slot] for slot in TASKS[task]}


class Answers:
    """The answers in ``path``; the newest of a question that was not withdrawn counts.

    counts: which of the lines are looked at; None for all. The others stay in the file, and their answers are
    in ``set_aside``.
    Every answer is on the disk before ``add`` returns. A last line that a kill cut short is dropped, and
    cut off by the next answer. One writer: the page's server, or an import.
    """

    def __init__(self, path: Path, counts: Callable[[Correction], bool] | None = None):
        self.path, self._lock, self._counts = path, threading.Lock(), counts
        self.set_aside: list[Correction] = []
        self._standing: list[Correction] = []  # in the order they were given, without the withdrawn ones
        self._told: dict[tuple[str, str], list[Correction]] = {}  # the same, by question
        for number, row in enumerate(read_jsonl(path, torn=True) if path.is_file() else (), start=1):
            try:
                slots = None if row["slots"] is None else check_slots(row["task"], row["slots"])
                of = str(row.get("dataset", "")), str(row.get("image", ""))
                told = Correction(str(row["id"]), row["task"], slots, str(row["by"]), float(row["t"]), *of)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"{path}:{number}: not an answer", str(error), "mend that line, or take it out"
                ) from None
            self._take(told)

    def newest(self, id: str, task: str) -> Correction | None:
        """The answer that counts for a question, None where there is none."""
        told = self._told.get((id, task))
        return told[-1] if told else None

    def all_of(self, id: str, task: str) -> list[Correction]:
        """The answers to a question that were not withdrawn, the newest last."""
        return list(self._told.get((id, task), ()))

    def given(self) -> list[Correction]:
        """The answers that count, by row and task."""
        with self._lock:
            return [told[-1] for _, told in sorted(self._told.items()) if told]

    def add(self, corrections: Iterable[Correction]) -> None:
        """Appends and syncs. Raises ValueError for slots that no label can say."""
        checked = [
            c if c.slots is None else c._replace(slots=check_slots(c.task, c.slots)) for c in corrections
        ]
        with self._lock:
            self._append(checked)

    def undo(self, by: str) -> Correction | None:
        """Withdraws the newest answer that stands, and returns it; None where there is none."""
        with self._lock:
            if not self._standing:
                return None
            last = self._standing[-1]
            self._append(
                [last._replace(slots=None, by=by, t=now())]
            )  # of the same picture as what it withdraws
            return last

    def _append(self, corrections: list[Correction]) -> None:
        fresh = not self.path.is_file()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_jsonl(self.path, *(c._asdict() for c in corrections))
        sync(self.path)
        if fresh:
            sync(self.path.parent)  # a new file's name is the folder's to keep
        for correction in corrections:
            self._take(correction)

    def _take(self, correction: Correction) -> None:
        if self._counts is not None and not self._counts(correction):
            if correction.slots is not None:
                self.set_aside.append(correction)
            return
        told = self._told.setdefault((correction.id, correction.task), [])
        if correction.slots is not None:
            self._standing.append(correction)
            told.append(correction)
        elif told:
            withdrawn = told.pop()
            place = next(i for i in range(len(self._standing) - 1, -1, -1) if self._standing[i] is withdrawn)
            del self._standing[place]


def now() -> float:
    return round(time.time(), 3)


def sync(path: Path) -> None:
    """Waits until what was written to a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def parse(body: bytes) -> dict:
    """A JSON object. Raises ValueError."""
    try:
        value = json.loads(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
