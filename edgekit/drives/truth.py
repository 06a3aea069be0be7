"""truth.jsonl: what a rendered drive knows of each frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl
from edgekit.core.label import TASKS, SceneLabel, label_of


@dataclass(frozen=True)
class FrameTruth:
    """label: the exact SceneLabel; visible: per task, whether the camera could see it (else not scored).

    more: whatever else stands in the row (distances, boxes).
    """

    frame: int
    t_s: float
    label: SceneLabel
    visible: dict[str, bool]
    more: dict[str, Any] = field(default_factory=dict)


def read_truth(path: str | Path) -> dict[int, FrameTruth]:
    """Truth by frame number. Raises UserError where a row does not fit."""
    out: dict[int, FrameTruth] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            row = dict(row)
            frame, t_s = int(row.pop("frame")), float(row.pop("t_s"))
            label = label_of(dict(SceneLabel(**row.pop("label"))))
            visible = {task: True for task in TASKS} | row.pop("visible", {})
            if set(visible) != set(TASKS) or not all(isinstance(v, bool) for v in visible.values()):
                raise ValueError(f"visible must be true or false for {', '.join(TASKS)}")
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}:{number}: not a row of truth",
                str(error).replace("\n", " ")[:160],
                'write {"frame", "t_s", "label", "visible"} per frame',
            ) from None
        out[frame] = FrameTruth(frame, t_s, label, visible, row)
    return out
