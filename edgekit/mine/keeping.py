"""Which of the mined frames become rows: no repeats, no pairs that do not belong together, rare scenes first."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from itertools import accumulate
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
    stories: Iterable[Story], keep: Keep, frames: int
) -> tuple[list[list[int]], dict[str, Any], list[dict[str, str]]]:
    """(per story the places that stay, what ``counted`` tells, the rows left out with the reason).

    frames: of all stories. Each story is looked at once and let go of; of a frame only what a quota asks of all of
    them stays. Every frame is decoded once more where repeats or misaligned pairs are looked for.
    """
    lengths: list[int] = []
    rows: list[Candidate] = []
    labels: list[SceneLabel] = []
    why: dict[int, str] = {}
    sees = keep.repeats_within is not None or keep.aligned

    def seen() -> Iterator[np.ndarray | None]:
        for story in stories:
            lengths.append(len(story.numbers))
            tags = tuple(story.drive.info.tags)
            shown = pictures(story.drive, story.numbers) if sees else [None] * len(story.numbers)
            for i, image in enumerate(shown):
                label, marks = story.row(i)  # with their histories marks are large: none is kept
                if keep.aligned and (reason := misaligned(label, marks, image)):
                    why[len(rows)] = reason
                states = {task: state(label, task) for task in TASKS}
                rows.append(Candidate(story.id(i), tags, states, disagreement(marks)))
                labels.append(label)
                yield image

    def keys() -> Iterator[Hashable]:
        """Asked for after each image; one that is out takes no other with it."""
        for n in range(frames):
            yield n if n in why else what_counts(labels[n])

    shown = track(seen(), "looking for repeats", frames, "frame") if sees else seen()
    if keep.repeats_within is not None:
        repeats = near_duplicates(shown, keep.repeats_within, keys())
        rows = [replace(row, duplicate_of=of) for row, of in zip(rows, repeats, strict=True)]
    else:
        deque(shown, maxlen=0)

    stay = [n for n in range(len(rows)) if n not in why]
    chosen = [stay[k] for k in choose([rows[n] for n in stay], keep.quota, keep.most)]
    left, taken = [], set(chosen)
    for n, row in enumerate(rows):
        if n in why:
            left.append({"id": row.id, "why": why[n]})
        elif row.duplicate_of is not None:
            left.append({"id": row.id, "why": f"repeats {rows[row.duplicate_of].id}"})
        elif n not in taken:
            left.append({"id": row.id, "why": "beyond keep.quota or keep.most"})
    report = counted(rows, chosen, keep.quota) | {"misaligned": len(why)}
    ends = list(accumulate(lengths))
    places = [
        [n - (end - length) for n in chosen[bisect_left(chosen, end - length) : bisect_left(chosen, end)]]
        for end, length in zip(ends, lengths, strict=True)
    ]
    return places, report, left
