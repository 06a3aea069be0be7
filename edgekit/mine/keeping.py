"""Which of the mined frames become rows: no repeats, no pairs that do not belong together, rare scenes first."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from edgekit.core.label import TASKS, SceneLabel
from edgekit.core.progress import track
from edgekit.dataset.score import state
from edgekit.mine.config import Keep
from edgekit.mine.frames import pictures
from edgekit.mine.select.duplicates import near_duplicates, what_counts
from edgekit.mine.select.misaligned import misaligned
from edgekit.mine.select.quota import Candidate, choose, counted, disagreement
from edgekit.mine.story import Story


def kept(
    stories: Sequence[Story], keep: Keep
) -> tuple[list[list[int]], dict[str, Any], list[dict[str, str]]]:
    """(per story the places that stay, what ``counted`` tells, the rows left out with the reason).

    Every frame is decoded once more where repeats or misaligned pairs are looked for.
    """
    places = [(story, i) for story in stories for i in range(len(story.numbers))]
    labels: list[SceneLabel] = []
    disputes: list[float] = []
    why: dict[int, str] = {}

    def look(n: int, image: np.ndarray | None) -> None:
        story, i = places[n]
        label, marks = story.row(i)  # with their histories marks are large: none is kept
        labels.append(label)
        disputes.append(disagreement(marks))
        if keep.aligned and (reason := misaligned(label, marks, image)):
            why[n] = reason

    def seen() -> Iterator[np.ndarray]:
        shown = (image for story in stories for image in pictures(story.drive, story.numbers))
        for n, image in enumerate(track(shown, "looking for repeats", len(places), "frame")):
            look(n, image)
            yield image

    def keys() -> Iterator[Hashable]:
        """Asked for after each image; one that is out takes no other with it."""
        for n in range(len(places)):
            yield n if n in why else what_counts(labels[n])

    repeats: list[int | None] = [None] * len(places)
    if keep.repeats_within is not None:
        repeats = near_duplicates(seen(), keep.repeats_within, keys())
    elif keep.aligned:
        deque(seen(), maxlen=0)
    else:
        for n in range(len(places)):
            look(n, None)

    rows = [
        Candidate(
            story.id(i),
            tuple(story.drive.info.tags),
            {task: state(labels[n], task) for task in TASKS},
            disputes[n],
            repeats[n],
        )
        for n, (story, i) in enumerate(places)
    ]
    stay = [n for n in range(len(rows)) if n not in why]
    chosen = [stay[k] for k in choose([rows[n] for n in stay], keep.quota, keep.most)]
    out: dict[int, list[int]] = {id(story): [] for story in stories}
    for n in chosen:
        story, i = places[n]
        out[id(story)].append(i)
    left, taken = [], set(chosen)
    for n, row in enumerate(rows):
        if n in why:
            left.append({"id": row.id, "why": why[n]})
        elif row.duplicate_of is not None:
            left.append({"id": row.id, "why": f"repeats {rows[row.duplicate_of].id}"})
        elif n not in taken:
            left.append({"id": row.id, "why": "beyond keep.quota or keep.most"})
    report = counted(rows, chosen, keep.quota) | {"misaligned": len(why)}
    return [out[id(story)] for story in stories], report, left
