"""What a detector's boxes say about a label: a partial opinion, and silence where a detector cannot know.

Known to no detector here, and so never said: which of several lights governs the ego lane, whether a vehicle is
parked for good, and speed and crossroad.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgekit.core.box import Box
from edgekit.core.label import TASK_OF
from edgekit.mine.experts.config import Corridor
from edgekit.mine.experts.lights import light_state

ABSENT = (
    0.5  # raw confidence of "looked, and nothing there": a detector gives none; the gold set tells its worth
)
BLOCKS = {
    "person": "person",
    "cyclist": "cyclist",
    "barrier": "barrier",
    "debris": "debris",
}  # thing → obstacle
ALL_BLOCKS = frozenset({*BLOCKS, "car"})  # who sees fewer of them cannot say that the path is free
ON_BIKE = 0.3  # of a person's box inside a cyclist's: it is the rider


@dataclass(frozen=True)
class Said:
    """One expert's opinion of one frame.

    opinions: slot → (value, raw confidence 0..1); a slot that is not there was not spoken of.
    denied: slot → {value: raw confidence}: values that it would have seen and did not; what is there instead it
    does not say. boxes: task → what the opinion rests on. found: what it found anywhere in the picture, each once.
    """

    by: str = ""
    opinions: dict[str, tuple[str, float]] = field(default_factory=dict)
    denied: dict[str, dict[str, float]] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    found: tuple[str, ...] = ()

    def tasks(self) -> frozenset[str]:
        """The tasks that it speaks about."""
        return frozenset(TASK_OF[slot] for slot in (*self.opinions, *self.denied))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "boxes": {task: [list(b) for b in found] for task, found in self.boxes.items()}
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Said:
        """Raises KeyError, TypeError or ValueError for what ``to_json`` did not write."""
        opinions = {slot: (str(value), float(sure)) for slot, (value, sure) in raw["opinions"].items()}
        boxes = {task: [Box(*box) for box in found] for task, found in raw["boxes"].items()}
        return cls(raw["by"], opinions, raw["denied"], boxes, tuple(raw["found"]))


def said(
    boxes: Sequence[Box], image: np.ndarray, sees: Iterable[str], *, by: str = "expert",
    corridor: Corridor | None = None,
) -> Said:  # fmt: skip
    """The opinion that ``boxes`` make of a frame. image: RGB uint8 (H, W, 3) at the drive's full resolution, which
    the boxes' pixels are of; sees: the expert's things.
    """
    sees, height, width = frozenset(sees), *image.shape[:2]
    opinions: dict[str, tuple[str, float]] = {}
    denied: dict[str, dict[str, float]] = {}
    shown: dict[str, list[Box]] = {}

    if "light" in sees:
        heads = [box for box in boxes if box.name == "light"]
        shown["light"] = heads
        told = of_lights(heads, image)
        if told:
            opinions["light"] = told

    if "cone" in sees:
        cones = [box for box in boxes if box.name == "cone"]
        opinions["cones"] = ("yes", max(box.score for box in cones)) if cones else ("no", ABSENT)
        shown["obstacles"] = cones

    blocks = sees & set(BLOCKS)
    if blocks:
        corridor = corridor or Corridor()
        walkers = [box for box in boxes if box.name in ALL_BLOCKS and not _rides(box, boxes)]
        ahead = [b for b in walkers if corridor.holds((b.x0 + b.x1) / 2 / width, b.y1 / height)]
        ahead.sort(key=lambda box: -box.y1)  # on a flat street the lowest foot is the nearest
        shown["obstacles"] = shown.get("obstacles", []) + ahead
        if ahead and ahead[0].name in BLOCKS:
            opinions["obstacle"] = (BLOCKS[ahead[0].name], ahead[0].score)
        elif not ahead and sees >= ALL_BLOCKS:
            opinions["obstacle"] = ("none", ABSENT)
        elif not ahead or ahead[0].name == "car":
            # A vehicle may drive or stand: of that nothing is said, only of what was looked for and is not there.
            there = {box.name for box in ahead}
            denied["obstacle"] = {BLOCKS[name]: ABSENT for name in sorted(blocks - there)}
    denied, shown = ({k: v for k, v in kept.items() if v} for kept in (denied, shown))
    return Said(by, opinions, denied, shown, tuple(sorted({box.name for box in boxes})))


def of_lights(heads: Sequence[Box], image: np.ndarray) -> tuple[str, float] | None:
    """What the heads say of the slot ``light``; None where they show several states, or none that can be told.

    Confidence: that of the surest head (box times state), times the share of heads whose state is told.
    """
    if not heads:
        return "none", ABSENT
    states = [(light_state(image, box[1:5]), box.score) for box in heads]
    told = [(state, sure * score) for (state, sure), score in states if state != "unknown"]
    if len({state for state, _ in told}) != 1:
        return None
    return told[0][0], max(sure for _, sure in told) * len(told) / len(heads)


def _rides(box: Box, boxes: Sequence[Box]) -> bool:
    """A person most of whom is inside a cyclist's box."""
    if box.name != "person":
        return False
    area = (box.x1 - box.x0) * (box.y1 - box.y0)
    for other in boxes:
        if other.name == "cyclist":
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            if across > 0 and down > 0 and across * down >= ON_BIKE * area:
                return True
    return False
