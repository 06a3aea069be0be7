"""Pairs of picture and label that do not belong together, told from what a frame's own steps say.

One task on which two voices differ is a question for a person: it goes to review. A pair is misaligned where
no single answer would mend it:

- the picture shows nothing (a covered lens, a dead camera, a frame of one colour), and the label tells
  something all the same;
- several tasks at once are contradicted by a sure voice of another kind: then picture and label are of
  different moments (a clock that jumped, an image under another frame's number).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset.sample import TaskMark
from edgekit.dataset.score import state

# Who spoke. What time and motion made of a teacher's answers is the teacher's, corrected: only another who saw the
# picture can say that it is another picture.
VOICES = {
    "first": "teacher",
    "vlm": "teacher",
    "smoothed": "teacher",
    "chained": "teacher",
    "motion": "teacher",
    "expert": "expert",
}
SURE = 0.8  # a step below it contradicts nobody
SEVERAL = 2  # contradicted tasks, and at least half of those on which two voices spoke
CONTRAST = 8  # grey levels between a picture's 1st and 99th of 100


def blank(image: np.ndarray) -> bool:
    """Whether RGB uint8 (H, W, 3) shows nothing: its grey levels lie within CONTRAST of each other."""
    low, high = np.percentile(image.mean(axis=2), (1, 99))
    return bool(high - low < CONTRAST)


def voices(history: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, float]]:
    """Voice → (state, confidence) of its last step that told something."""
    out = {}
    for step in history:
        voice = VOICES.get(step.get("step", ""))
        if voice and step.get("value", "unknown") != "unknown":
            out[voice] = (step["value"], float(step.get("confidence", 1.0)))
    return out


def contradicted(mark: TaskMark, sure: float = SURE) -> bool | None:
    """Whether two sure voices tell different states; None where fewer than two spoke."""
    said = voices(mark.history)
    if len(said) < 2:
        return None
    return len({value for value, confidence in said.values() if confidence >= sure}) > 1


def misaligned(
    label: SceneLabel, tasks: Mapping[str, TaskMark], image: np.ndarray | None = None, sure: float = SURE
) -> str | None:
    """Why this pair is out, in words; None where it may stay. A person's word is never contradicted.

    image: RGB uint8 (H, W, 3); without it only the steps are looked at.
    """
    told = [task for task in TASKS if state(label, task) != "unknown"]
    if image is not None and told and blank(image):
        return f"the picture shows nothing, and the label tells {', '.join(told)}"
    heard = {t: contradicted(m, sure) for t, m in tasks.items() if m.source != "human"}
    against = [task for task, verdict in heard.items() if verdict]
    spoken = sum(verdict is not None for verdict in heard.values())
    if len(against) < SEVERAL or 2 * len(against) < spoken:
        return None
    details = "; ".join(
        f"{task}: " + ", ".join(f"{who} {value}" for who, (value, _) in voices(tasks[task].history).items())
        for task in against
    )
    return f"{len(against)} of {spoken} tasks are contradicted by a sure voice ({details})"
