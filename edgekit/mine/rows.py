"""A mined frame as a row of the Dataset: every task with its source, confidence and history."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset import TaskMark
from edgekit.dataset.score import state
from edgekit.engine.answerer import Answer
from edgekit.mine.asking import Asked
from edgekit.mine.chain import CHAINED

if TYPE_CHECKING:
    from edgekit.mine.experts.fusion import Fused
    from edgekit.mine.motion import Fired

Marks = dict[str, TaskMark]


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


def answered(asked: Asked) -> Marks:
    """What the teacher said. History: ``first`` where the frame was asked again, ``vlm`` the answer that counts,
    with the digest of the prompt that it was given to."""
    out = {}
    for task in TASKS:
        confidence = sure(asked.answer, task)
        history = [step("first", asked.first.seen, task, sure(asked.first, task))] if asked.first else []
        history.append(step("vlm", asked.answer.seen, task, confidence, prompt=asked.prompt.sha256[:16]))
        out[task] = TaskMark(source="vlm", confidence=confidence, history=history)
    return out


def smoothed(marks: Marks, before: SceneLabel, after: SceneLabel, windows: Mapping[str, Sequence[Asked]],
             window_s: Mapping[str, float]) -> None:  # fmt: skip
    """windows: by task the answers that voted, the frame's own among them; window_s: from the first to the last.

    A changed task's confidence is the mean of those frames that said what it became. votes: how many said it,
    of how many that said anything.
    """
    for task, mark in marks.items():
        told = [
            a.answer for a in windows[task] if a.answer.label and state(a.answer.label, task) != "unknown"
        ]
        for_it = [answer for answer in told if state(answer.label, task) == state(after, task)]
        if slots_of(before, task) != slots_of(after, task):
            mark.source, mark.status = "smoothed", "changed"
            if for_it:
                mark.confidence = sum(sure(answer, task) for answer in for_it) / len(for_it)
        votes = f"{len(for_it)} of {len(told)}"
        mark.history.append(
            step("smoothed", after, task, mark.confidence, window_s=window_s[task], votes=votes)
        )


def chained(marks: Marks, before: SceneLabel, after: SceneLabel, told: Mapping[str, float]) -> None:
    """What the chain made of it, where it was sure. told: its probabilities by slot.

    A change is as sure as the least of a task's slots; one of which the chain is not sure keeps the confidence that the
    task had. What is the teacher's own word again is the teacher's.
    """
    for task, mark in marks.items():
        sure = [told[slot] for slot in TASKS[task] if slot in told]
        if not sure:
            continue
        if slots_of(before, task) != slots_of(after, task):
            unsure = any(slot in CHAINED and slot not in told for slot in TASKS[task])
            mark.confidence = min([*sure, mark.confidence] if unsure else sure)
            own = next(one["slots"] for one in mark.history if one["step"] == "vlm")
            back = own == slots_of(after, task)
            mark.source, mark.status = ("vlm", "kept") if back else ("smoothed", "changed")
        mark.history.append(step("chained", after, task, mark.confidence, probability=min(sure)))


def moved(marks: Marks, after: SceneLabel, fired: Sequence[Fired]) -> None:
    """What motion said to it: a demote lowers the confidence, a relabel changes, a review asks a person."""
    for rule in fired:
        mark = marks[rule.task]
        mark.confidence *= rule.factor
        if rule.action == "relabel":
            mark.source, mark.status = "motion", "changed"
        elif rule.action == "review":
            mark.status = "review"
        mark.history.append(
            step("motion", after, rule.task, mark.confidence, rule=rule.rule, action=rule.action)
        )


def weighed(marks: Marks, before: SceneLabel, fused: Fused) -> None:
    """What detectors said, and what became of it. A task that none speaks about stays as it was.

    What motion wants a person to see stays for a person, whoever else is sure.
    """
    for task, history in fused.history.items():
        mark = marks[task]
        mark.history += [dict(step) for step in history]
        mark.confidence = fused.confidence[task]
        changed = slots_of(before, task) != slots_of(fused.label, task)
        if changed:
            mark.source = "expert"
        if fused.status[task] == "review":
            mark.status = "review"
        elif changed and mark.status != "review":
            mark.status = "changed"


def placed(marks: Marks, seen: tuple[int, int], stored: tuple[int, int]) -> Marks:
    """Detectors' boxes as the row's image has them: from pixels of what they ``seen`` (H, W) to those ``stored``."""
    down, across = stored[0] / seen[0], stored[1] / seen[1]
    for mark in marks.values():
        for step in mark.history:
            if "boxes" in step:
                step["boxes"] = [
                    {
                        "name": name, "x0": round(x0 * across, 1), "y0": round(y0 * down, 1),
                        "x1": round(x1 * across, 1), "y1": round(y1 * down, 1), "score": score,
                    }
                    for name, x0, y0, x1, y1, score in step["boxes"]
                ]  # fmt: skip
    return marks


def closed(marks: Marks, label: SceneLabel) -> Marks:
    """A task that nobody could tell is ``dropped``: it is neither learned from nor scored."""
    for task, mark in marks.items():
        mark.confidence = round(mark.confidence, 3)
        if all(value == "unknown" for value in slots_of(label, task).values()):
            mark.status = "dropped"
    return marks


def split_of(scene: str, splits: dict[str, float]) -> str:
    """The split of a scene, from its name alone: another drive of it lands on the same side."""
    at = int.from_bytes(hashlib.sha256(scene.encode()).digest()[:8], "big") / 2**64
    for split, share in splits.items():
        at -= share
        if at < 0:
            return split
    return next(reversed([s for s, share in splits.items() if share > 0]))
