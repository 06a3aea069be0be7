"""Asking a model many questions, and keeping the answers: a killed run loses one batch at most.

Batches are cut by position, never by what is left to do: a resumed run asks the same batches as an
undisturbed one, so that a model whose numbers depend on its batch gives the same answers. Of a port, where each
question is on its own (``apart``), each answer is kept as it comes, and only what is missing in a batch is asked.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import append_jsonl, read_jsonl
from edgekit.core.label import SceneLabel, label_of
from edgekit.core.progress import bar
from edgekit.engine.answerer import Answer, Answerer
from edgekit.engine.refusal import was_refused

KEPT = "then start the same command again: it goes on, what was answered is kept"


class AnswerLog:
    """Answers by key in a JSON-lines file, appended as they come.

    A line that a kill cut short is not read, and is cut off when the next ones are appended. check: called by
    ``ask_all`` after each batch; it may raise, to ask no more. refused: read what a server refused, too; else that
    is asked again, for a server that is set up anew may answer.
    """

    def __init__(self, path: Path, check: Callable[[], None] | None = None, refused: bool = False):
        self.path, self.check = path, check
        self.answers: dict[str, Answer] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            told = ((row["id"], from_row(row)) for row in read_jsonl(path, torn=True))
            self.answers = {key: answer for key, answer in told if refused or not was_refused(answer)}

    def add(self, keys: Sequence[str], answers: Sequence[Answer]) -> None:
        rows = [{"id": key, **to_row(answer)} for key, answer in zip(keys, answers, strict=True)]
        append_jsonl(self.path, *rows)
        # As a resumed run would read them: rounded.
        self.answers |= {row["id"]: from_row(row) for row in rows}


def to_row(answer: Answer) -> dict[str, Any]:
    """An answer as JSON; confidences to three digits, as many as float32 arithmetic keeps apart."""
    return {
        "text": answer.text,
        "label": answer.label.model_dump() if answer.label else None,
        "confidence": {slot: round(value, 3) for slot, value in answer.confidence.items()},
        "passes": answer.passes,
    }


def from_row(row: dict[str, Any]) -> Answer:
    # A drive of hours has a hundred thousand answers, most of them the canonical text of few labels: one string for
    # all that say the same, and one Answer where they are as sure of it.
    sure = row["confidence"]
    return _answer(sys.intern(row["text"]), row["label"] and label_of(row["label"]), tuple(sure), tuple(sure.values()),
                   row["passes"])  # fmt: skip


@lru_cache(maxsize=1024)
def _answer(
    text: str, label: SceneLabel | None, slots: tuple[str, ...], values: tuple[float, ...], passes: int
) -> Answer:
    return Answer(text, label, Sure(_SLOTS.setdefault(slots, slots), values), passes)


_SLOTS: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all answers that tell of the same slots


class Sure(Mapping):
    """slot → confidence, read only, in a quarter of the memory of a dict of as many floats."""

    __slots__ = ("_slots", "_values")

    def __init__(self, slots: tuple[str, ...], values: Iterable[float]):
        self._slots, self._values = slots, array("d", values)

    def __getitem__(self, slot: str) -> float:
        try:
            return self._values[self._slots.index(slot)]
        except ValueError:
            raise KeyError(slot) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def __repr__(self) -> str:
        return repr(dict(self))


class Pace:
    """What asking took: seconds and answers of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, int]] = []

    @property
    def answers_per_s(self) -> float | None:
        """Answers a second over all calls; None where none was made (all were in the log)."""
        seconds = sum(s for s, _ in self.calls)
        return sum(n for _, n in self.calls) / seconds if seconds else None


def ask_all(
    answerer: Answerer,
    keys: Sequence[str],
    prompts: Sequence[str],
    images_from: Callable[[int], Iterator[np.ndarray]],
    log: AnswerLog,
    batch: int,
    what: str = "asking",
    pace: Pace | None = None,
) -> list[Answer]:
    """One Answer per key, in order; those already in ``log`` are not asked again.

    images_from(i): RGB uint8 images of keys i, i + 1, … (a video is decoded in order). A UserError of the
    answerer is raised with the advice that what was answered is kept, where something was.
    """
    apart = getattr(answerer, "apart", False)
    if apart and log.answers:
        answerer.proven = True  # by the process that wrote the log
    if all(key in log.answers for key in keys):
        return [log.answers[key] for key in keys]
    source: Iterator[np.ndarray] | None = None
    at = 0  # the key whose image ``source`` gives next
    with bar(what, total=len(keys), unit="frame") as shown:
        for first in range(0, len(keys), batch):
            part = list(keys[first : first + batch])
            missing = [i for i, key in enumerate(part) if key not in log.answers]
            if missing:
                if source is None or at != first:
                    source = images_from(first)
                images = list(islice(source, len(part)))
                at = first + len(part)
                if len(images) != len(part):
                    raise ValueError(f"{len(part)} images wanted from {first} on, {len(images)} came")
                if not apart:
                    missing = list(range(len(part)))
                began = time.perf_counter()
                try:
                    _ask(
                        answerer, [part[i] for i in missing], [images[i] for i in missing],
                        [prompts[first + i] for i in missing], log,
                    )  # fmt: skip
                except UserError as error:
                    if not log.answers and not getattr(answerer, "proven", False):
                        raise
                    raise UserError(error.what, error.why, f"{error.do}; {KEPT}") from None
                if pace is not None:
                    pace.calls.append((time.perf_counter() - began, len(missing)))
                if log.check is not None:
                    log.check()
            shown.update(len(part))
    return [log.answers[key] for key in keys]


def _ask(
    answerer: Answerer, keys: list[str], images: list[np.ndarray], prompts: list[str], log: AnswerLog
) -> None:
    if not getattr(answerer, "apart", False):
        log.add(keys, answerer.answer(images, prompts))
        return
    answerer.answer(images, prompts, lambda i, answer: log.add([keys[i]], [answer]))
