"""The rows of the Dataset, the queue of what a person should look at, and what mining.json counts: story by story."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.progress import track
from edgekit.core.run import Run
from edgekit.dataset import DatasetWriter, Sample
from edgekit.dataset.queue import Entry, QueueWriter, around
from edgekit.library import Prompt, compose, load_library
from edgekit.mine.config import MineConfig
from edgekit.mine.frames import pictures
from edgekit.mine.measure import Tally
from edgekit.mine.rows import placed, split_of
from edgekit.mine.select.quota import disagreement
from edgekit.mine.story import Story


def write_rows(
    config: MineConfig, run: Run, stories: Iterable[Story], places: Iterable[Sequence[int]],
    contract: Contract, teacher: str,
) -> dict[str, Any]:  # fmt: skip
    """Writes the Dataset and review.jsonl; what became of the labels, for mining.json.

    places: of each story, which of its frames become rows; what is counted are all of them.
    """
    prompt, asked_with = compose(load_library(config.student_library)), compose(load_library(config.library))
    writer = DatasetWriter(
        run.out, contract, made_by="mine", teacher=teacher,
        asked_with=asked_with.record(), prompt={**prompt.record(), "text": prompt.text},
    )  # fmt: skip
    queue, tally, rules = QueueWriter(run.out), Tally(), {}
    for story, stay in zip(stories, places, strict=True):
        _write(story, stay, config, writer, queue, prompt, teacher)
        tally.add(story.mined())
        for one in (one for frame in story.fired for one in frame):
            row = rules.setdefault(one.rule, {"task": one.task, "action": one.action, "frames": 0})
            row["frames"] += 1
    writer.finish()
    queue.finish()
    if queue:
        run.say(f"{len(queue)} labels wait for a person: edgekit review {run.path}")
    return {"rules": dict(sorted(rules.items())), **tally.report(config.resamples, config.seed)}


def _write(
    story: Story, stay: Sequence[int], config: MineConfig, writer: DatasetWriter, queue: QueueWriter,
    prompt: Prompt, teacher: str,
) -> None:  # fmt: skip
    """One story's rows, and what of them goes on the queue."""
    drive, contract = story.drive, writer.contract
    times = np.array([story.times_s[i] for i in stay])
    images = pictures(drive, [story.numbers[i] for i in stay])
    shown = track(zip(stay, images, strict=True), f"writing {drive.id}", len(stay), "row")
    for k, (i, image) in enumerate(shown):
        label, marks = story.row(i)
        marks = placed(marks, image.shape[:2], (contract.height, contract.width))
        speed = story.speeds[i]
        sample = Sample.of(
            id=story.id(i),
            prompt_text=prompt.text,
            label=label,
            source="vlm",
            tasks=marks,
            images=[writer.image(story.id(i), image)],
            drive=drive.id,
            scene=drive.scene,
            frame=story.numbers[i],
            t_s=round(story.times_s[i], 6),
            speed_mps=None if speed is None else round(speed, 4),
            tags=list(drive.info.tags),
            prompt=prompt.record(),
            teacher=f"{teacher} {story.asked[i].prompt.id}",
        )  # fmt: skip
        writer.add(split_of(drive.scene, config.splits), sample)
        for task, mark in marks.items():
            if mark.status == "review":
                queue.add(
                    Entry(
                        id=sample.id, task=task, why=story.why(i, task), priority=disagreement({task: mark}),
                        strip=[story.id(stay[j]) for j in around(times, k)], history=mark.history,
                    )
                )  # fmt: skip
