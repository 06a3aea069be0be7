"""Rows and answers to numbers: predictions, metrics with intervals, per slice, and what was left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.core.label import TASKS
from edgekit.dataset import Sample
from edgekit.dataset.answers import to_row
from edgekit.dataset.bootstrap import intervals
from edgekit.dataset.score import counted, counts, masks_of, score, state
from edgekit.engine.answerer import Answer
from edgekit.evaluate.config import EvaluateConfig


def spread(rows: list[Sample], most: int | None) -> list[Sample]:
    """At most ``most`` rows, evenly over the list."""
    if most is None or most >= len(rows):
        return rows
    return [rows[i] for i in np.linspace(0, len(rows) - 1, most).round().astype(int)]


def prediction(row: Sample, answer: Answer) -> dict[str, Any]:
    """A line of predictions.jsonl: enough to score and compare without the Dataset."""
    said = to_row(answer)
    said.pop("passes")  # how it was decoded is no part of what was answered
    known = counted([row.label], masks_of([row]))
    return {
        "id": row.id,
        "scene": row.scene,
        "tags": row.tags,
        "truth": row.label.model_dump(),
        "counted": {task: bool(known[task][0]) for task in TASKS},
        **said,
    }


def measured(
    config: EvaluateConfig, rows: list[Sample], answers: list[Answer], train_median: float
) -> dict[str, Any]:
    """Metrics over all frames and over each tag's, with intervals; what was left out and why."""
    overall = part(config, rows, answers, train_median)
    masks = masks_of(rows)
    truths = [row.label for row in rows]
    tags = sorted({tag for row in rows for tag in row.tags})
    held = {tag: [i for i, row in enumerate(rows) if tag in row.tags] for tag in tags}
    return {
        **overall,
        "unparsed": sum(answer.label is None for answer in answers),
        "excluded": {
            task: {
                "dropped": masks[task].count(False),
                "truth_unknown": sum(
                    m and state(label, task) == "unknown"
                    for m, label in zip(masks[task], truths, strict=True)
                ),
            }
            for task in TASKS
        },
        "lights": confusion(rows, answers),
        "train_median_kmh": train_median,
        "slices": {
            tag: part(config, [rows[i] for i in held[tag]], [answers[i] for i in held[tag]], train_median)
            for tag in tags
        },
    }


def confusion(rows: list[Sample], answers: list[Answer]) -> dict[str, dict[str, int]]:
    """Frames by true light and by the light that was answered; F1 alone would hide a state never named."""
    table: dict[str, dict[str, int]] = {}
    for row, answer, scored in zip(rows, answers, masks_of(rows)["light"], strict=True):
        if scored and row.label.light != "unknown":
            said = table.setdefault(row.label.light, {})
            said[answer.seen.light] = said.get(answer.seen.light, 0) + 1
    return {true: dict(sorted(said.items())) for true, said in sorted(table.items())}


def lights_told(lights: dict[str, dict[str, int]]) -> str:
    """``green 30/33, red 34/34``: right answers of each true light's frames."""
    return ", ".join(f"{true} {said.get(true, 0)}/{sum(said.values())}" for true, said in lights.items())


def part(config: EvaluateConfig, rows: list[Sample], answers: list[Answer], median: float) -> dict[str, Any]:
    """frames, scenes, metrics and intervals of some rows."""
    truths, masks, said = [row.label for row in rows], masks_of(rows), [a.seen for a in answers]
    scenes = [row.scene for row in rows]
    per_frame = counts(truths, masks, said, median)
    return {
        "frames": len(rows),
        "scenes": len(set(scenes)),
        "overall": {k: round(v, 6) for k, v in score(truths, masks, said, median).items()},
        "intervals": intervals(per_frame, scenes, config.resamples, config.seed),
    }
