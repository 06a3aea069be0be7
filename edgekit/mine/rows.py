"""A mined frame as a row of the Dataset: every task with its source, confidence and history."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset import TaskMark
from edgekit.dataset.score import state
from edgekit.engine.answerer import Answer
from edgekit.mine.asking import Asked


def slots_of(label: SceneLabel, task: str) -> dict[str, str]:
    return {slot: getattr(label, slot) for slot in TASKS[task]}


def sure(answer: Answer, task: str) -> float:
    """The confidence in a task: of its least sure slot; 1 where the teacher does not tell.

    0 for an answer that did not parse: nothing was said.
    """
    if answer.label is None:
        return 0.0
    return min((answer.confidence[s] for s in TASKS[task] if s in answer.confidence), default=1.0)


def step(name: str, label: SceneLabel, task: str, confidence: float, **more: Any) -> dict[str, Any]:
    """A step of a task's history: what it said, and how sure."""
    slots = slots_of(label, task)
    return {
        "step": name, "value": state(label, task), "slots": slots, "confidence": round(confidence, 3), **more
    }  # fmt: skip


def marks(
    own: int, asked: Sequence[Asked], smoothed: SceneLabel | None, window_s: float
) -> dict[str, TaskMark]:
    """Marks of frame ``own`` (its place in ``asked``, the frames of its window).

    History: ``first`` where the frame was asked again, ``vlm`` the answer that counts, ``smoothed``.
    A changed task's confidence is the mean of those frames that said what it became. A task that
    nobody could tell is ``dropped``: it is neither learned from nor scored.
    """
    out = {}
    me, answers = asked[own], [a.answer for a in asked]
    for task in TASKS:
        raw = slots_of(me.answer.seen, task)
        final, source, confidence, status = raw, "vlm", sure(me.answer, task), "kept"
        history = [step("first", me.first.seen, task, sure(me.first, task))] if me.first else []
        history.append(step("vlm", me.answer.seen, task, confidence))
        if smoothed is not None:
            final = slots_of(smoothed, task)
            if final != raw:
                told = [a for a in answers if a.label and state(a.label, task) == state(smoothed, task)]
                source, status = "smoothed", "changed"
                confidence = sum(sure(a, task) for a in told) / len(told) if told else confidence
            history.append(step("smoothed", smoothed, task, confidence, window_s=window_s))
        if all(value == "unknown" for value in final.values()):
            status = "dropped"
        out[task] = TaskMark(source=source, confidence=round(confidence, 3), status=status, history=history)
    return out


def split_of(scene: str, splits: dict[str, float]) -> str:
    """The split of a scene, from its name alone: another drive of it lands on the same side."""
    at = int.from_bytes(hashlib.sha256(scene.encode()).digest()[:8], "big") / 2**64
    for split, share in splits.items():
        at -= share
        if at < 0:
            return split
    return next(reversed([s for s, share in splits.items() if share > 0]))
