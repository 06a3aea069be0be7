"""How reliable the teacher and each detector are, on a small Dataset whose labels are believed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import write_json
from edgekit.core.label import TASKS, SceneLabel
from edgekit.core.progress import track
from edgekit.core.run import Run
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.dataset.sample import SPLITS
from edgekit.engine.answerer import Answerer
from edgekit.library import Library, compose
from edgekit.mine.config import MineConfig
from edgekit.mine.experts.calibrate import coverage_precision
from edgekit.mine.experts.config import Expert
from edgekit.mine.experts.figure import draw_curves
from edgekit.mine.experts.reliability import Judged, Reliability, judge, measure
from edgekit.mine.experts.see import said
from edgekit.mine.rows import slots_of, sure


def reliability_of(
    config: MineConfig, run: Run, teacher: Answerer, experts: Sequence[Expert], library: Library
) -> Reliability:
    """From the gold Dataset; without one everybody is believed alike, and a note says so."""
    if not config.gold:
        run.note(
            "fusion: no gold Dataset: the teacher and the detectors are believed alike, so none is overruled"
        )
        return Reliability()
    gold = open_dataset(run.input("gold"))
    samples = [row for split in SPLITS for row in gold.rows(split)]
    if not samples:
        raise UserError(
            "mine: the gold Dataset is empty", f"{config.gold} holds 0 frames", "name another one"
        )
    judged = [*_asked(config, run, teacher, library, gold, samples), *_seen(config, experts, gold, samples)]
    found = measure(judged)
    found.save(run.out / "reliability.json")
    _curves(run, judged)
    run.note(
        "the gold set judges the teacher's answers to the default prompt, before any correction, and detectors at the "
        "size of the gold images"
    )
    run.say(f"reliability of {1 + len(experts)} voices from {len(samples)} gold frames")
    return found


def _curves(run: Run, judged: Sequence[Judged]) -> None:
    """coverage.json: of each voice and task, how right its surest answers are; coverage.png where it can be drawn."""
    curves = {}
    for voice, task in dict.fromkeys((one.voice, one.task) for one in judged):
        told = [one for one in judged if (one.voice, one.task) == (voice, task)]
        curves[f"{voice}: {task}"] = coverage_precision([j.confidence for j in told], [j.right for j in told])
    points = {name: [[round(v, 4) for v in point] for point in curve] for name, curve in curves.items()}
    write_json(
        run.out / "coverage.json", {"columns": ["confidence", "coverage", "precision"], "curves": points}
    )
    if find_spec("matplotlib"):
        draw_curves(curves, run.out / "coverage.png")


def believed(row: Sample) -> SceneLabel:
    """A gold row's label without the tasks that were dropped: their truth is not visible."""
    values = row.label.model_dump()
    for task in TASKS:
        if row.tasks[task].status == "dropped":
            values |= dict.fromkeys(slots_of(row.label, task), "unknown")
    return SceneLabel(**values)


def _asked(
    config: MineConfig, run: Run, teacher: Answerer, library: Library, gold: Dataset, samples: list[Sample]
) -> list[Judged]:
    prompt = compose(library)
    answers = ask_all(
        teacher, [f"{row.id}?{prompt.sha256[:8]}" for row in samples], [prompt.text] * len(samples),
        lambda first: (gold.image(row) for row in samples[first:]),
        AnswerLog(run.state / "answers" / ".gold.jsonl"), config.asked_at_once, "asking about the gold frames",
    )  # fmt: skip
    out = []
    for row, answer in zip(samples, answers, strict=True):
        confidence = {task: sure(answer, task) for task in TASKS}
        out += judge(believed(row), answer.seen, "vlm", row.tags, confidence)
    return out


def _seen(
    config: MineConfig, experts: Sequence[Expert], gold: Dataset, samples: list[Sample]
) -> list[Judged]:
    out = []
    for row in track(samples, "detecting in the gold frames", len(samples), "frame"):
        image: np.ndarray = gold.image(row)
        for expert in experts:
            told = said(
                expert.detect([image])[0], image, expert.sees,
                by=expert.name, corridor=config.fusion.corridor,
            )  # fmt: skip
            out += judge(believed(row), told, expert.name, row.tags)
    return out
