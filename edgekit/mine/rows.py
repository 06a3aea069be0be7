"""A mined frame as a row of the Dataset: every task with its source, confidence and history."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset import TaskMark
from edgekit.dataset.score import state
from edgekit.engine.answerer import Answer


def slots_of(label: SceneLabel, task: str) -> dict[str, str]:
    return {slot: getattr(label, slot) for slot in TASKS[task]}


def sure(answer: Answer, task: str) -> float:
    """The confidence in a task: of its least sure slot; 1 where the teacher does not tell."""
    return min((answer.confidence[s] for s in TASKS[task] if s in answer.confidence), default=1.0)


def marks(
    own: int, answers: Sequence[Answer], smoothed: SceneLabel | None, window_s: float
) -> dict[str, TaskMark]:
    """Marks of frame ``own`` (its place in ``answers``, the answers of its window).

    A changed task's confidence is the mean of those frames that said what it became. A task that
    nobody could tell is ``dropped``: it is neither learned from nor scored.
    """
    out = {}
    for task in TASKS:
        raw = slots_of(answers[own].seen, task)
        history = [{"step": "vlm", "value": state(answers[own].seen, task), "slots": raw}]
        final, source, confidence, status = raw, "vlm", sure(answers[own], task), "kept"
        if smoothed is not None:
            final = slots_of(smoothed, task)
            history.append(
                {"step": "smoothed", "value": state(smoothed, task), "slots": final, "window_s": window_s}
            )
            if final != raw:
                voters = [sure(a, task) for a in answers if state(a.seen, task) == state(smoothed, task)]
                source, status = "smoothed", "changed"
                confidence = sum(voters) / len(voters) if voters else confidence
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
