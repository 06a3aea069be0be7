"""Which of the mined frames become rows: no repeats, no pairs that do not belong together, rare scenes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgekit.core.label import TASKS
from edgekit.core.progress import track
from edgekit.dataset.score import state
from edgekit.mine.asking import pictures
from edgekit.mine.config import Keep
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
    told = [story.row(i) for story, i in places]
    why: dict[int, str] = {}

    def seen() -> Iterator[np.ndarray]:
        shown = (image for story in stories for image in pictures(story.drive, story.numbers))
        for n, image in enumerate(track(shown, "looking for repeats", len(places), "frame")):
            if keep.aligned and (reason := misaligned(*told[n], image)):
                why[n] = reason
            yield image

    repeats: list[int | None] = [None] * len(places)
    if keep.repeats_within is not None:
        repeats = near_duplicates(seen(), keep.repeats_within, [what_counts(label) for label, _ in told])
    elif keep.aligned:
        for _ in seen():
            pass

    rows = [
        Candidate(
            story.id(i),
            tuple(story.drive.info.tags),
            {task: state(label, task) for task in TASKS},
            disagreement(marks),
            repeats[n],
        )
        for n, ((story, i), (label, marks)) in enumerate(zip(places, told, strict=True))
    ]
    stay = [n for n in range(len(rows)) if n not in why]
    chosen = [stay[k] for k in choose([rows[n] for n in stay], keep.quota, keep.most)]
    out: dict[int, list[int]] = {id(story): [] for story in stories}
    for n in chosen:
        story, i = places[n]
        out[id(story)].append(i)
    left = []
    for n, row in enumerate(rows):
        if n in why:
            left.append({"id": row.id, "why": why[n]})
        elif row.duplicate_of is not None:
            left.append({"id": row.id, "why": f"repeats {rows[row.duplicate_of].id}"})
    report = counted(rows, chosen, keep.quota) | {"misaligned": len(why)}
    return [out[id(story)] for story in stories], report, left
