"""What a small Dataset whose labels are believed tells: how reliable the teacher and each detector are, and for how
long things and errors last."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import write_json
from edgekit.core.label import TASKS, SceneLabel
from edgekit.core.progress import track
from edgekit.core.run import Run
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.dataset.sample import SPLITS
from edgekit.engine.answerer import Answer, Answerer
from edgekit.library import Library, compose
from edgekit.mine.chain import CHAINED, GAP_S, LEAST_S, Chain, learn, stretches
from edgekit.mine.config import MineConfig
from edgekit.mine.doubt import Doubt
from edgekit.mine.experts.calibrate import coverage_precision
from edgekit.mine.experts.config import Expert
from edgekit.mine.experts.figure import draw_curves
from edgekit.mine.experts.reliability import Judged, Reliability, judge, measure
from edgekit.mine.experts.see import said as seen
from edgekit.mine.habits import GoldDrive
from edgekit.mine.logs import Logs
from edgekit.mine.rows import slots_of, sure


class Gold(NamedTuple):
    """Gold rows and what the teacher answers to the default prompt about them, before any correction."""

    dataset: Dataset
    samples: list[Sample]
    answers: list[Answer]


def asked_gold(
    config: MineConfig, run: Run, teacher: Answerer, library: Library, logs: Logs, doubt: Doubt | None = None
) -> Gold | None:
    """None without a gold Dataset. Raises UserError as ``rows_of_gold``, and as ``doubt`` does."""
    if not config.gold:
        return None
    dataset = open_dataset(run.input("gold"))
    samples = rows_of_gold(config, dataset)
    prompt = compose(library)
    answers = ask_all(
        teacher, [f"{row.id}?{prompt.sha256[:8]}" for row in samples], [prompt.text] * len(samples),
        lambda first: (dataset.image(row) for row in samples[first:]),
        AnswerLog(logs.answers_of_gold, doubt), config.asked_at_once, "asking about the gold frames",
    )  # fmt: skip
    run.note(
        "the gold set judges the teacher's answers to the default prompt, before any correction, and detectors at the "
        "size of the gold images"
    )
    return Gold(dataset, samples, list(answers))


def rows_of_gold(config: MineConfig, dataset: Dataset) -> list[Sample]:
    """All its rows. Raises UserError for an empty Dataset, and for one too short for ``chain``."""
    samples = [row for split in SPLITS for row in dataset.rows(split)]
    if not samples:
        raise UserError(
            "mine: the gold Dataset is empty", f"{config.gold} holds 0 frames", "name another one"
        )
    if config.chain:
        check_time(samples)
    return samples


def reliability_of(config: MineConfig, run: Run, gold: Gold | None, experts: Sequence[Expert]) -> Reliability:
    """From gold; without it everybody is believed alike, and a note says so."""
    if not gold:
        run.note(
            "fusion: no gold Dataset: the teacher and the detectors are believed alike, so none is overruled"
        )
        return Reliability()
    judged = [*_answered(gold), *_seen(config, experts, gold.dataset, gold.samples)]
    found = measure(judged)
    found.save(run.out / "reliability.json")
    _curves(run, judged)
    run.say(f"reliability of {1 + len(experts)} voices from {len(gold.samples)} gold frames")
    return found


def check_time(samples: Sequence[Sample]) -> None:
    """Raises UserError for less than ``LEAST_S`` of gold in time: before the teacher is asked about it."""
    seconds = sum(one[-1].t_s - one[0].t_s for one in in_time(samples))
    if seconds < LEAST_S:
        raise UserError(
            f"chain: gold holds {seconds:.0f} s of drives in time",
            f"how long things last shows in runs of frames at most {GAP_S:g} s apart; {LEAST_S:.0f} s are the least",
            "label some drives whole and name them as gold, or leave chain away",
        )


def chain_of(run: Run, gold: Gold) -> Chain:
    """What lasts how long, from the gold drives; kept in ``chain.json``."""
    said = {row.id: answer.seen for row, answer in zip(gold.samples, gold.answers, strict=True)}
    drives = [
        GoldDrive(
            [row.t_s for row in one], [row.speed_mps for row in one],
            [believed(row) for row in one], [said[row.id] for row in one],
        )
        for one in in_time(gold.samples)
    ]  # fmt: skip
    chain = learn(drives)
    write_json(run.out / "chain.json", chain.report())
    run.say(f"how long things and errors last: learned from {len(drives)} stretches of gold")
    if left := [slot for slot in CHAINED if slot not in chain.slots]:
        run.note(
            f"chain: gold tells less than {LEAST_S:.0f} s of {', '.join(left)}: the majority stands there"
        )
    return chain


def in_time(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The rows of each drive in the order of time, cut where two are more than ``GAP_S`` apart."""
    by_drive: dict[str, dict[float, Sample]] = {}
    for row in samples:
        if row.drive:
            by_drive.setdefault(row.drive, {})[row.t_s] = row
    out = []
    for rows in by_drive.values():
        times = sorted(rows)
        out += [[rows[times[i]] for i in part] for part in stretches(times) if len(part) > 1]
    return out


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
    drawn = bool(find_spec("matplotlib"))
    if drawn:
        draw_curves(curves, run.out / "coverage.png")
    run.say(
        f"coverage against precision of each voice: {run.out / ('coverage.png' if drawn else 'coverage.json')}"
    )


def believed(row: Sample) -> SceneLabel:
    """A gold row's label without the tasks that were dropped: their truth is not visible."""
    values = row.label.model_dump()
    for task in TASKS:
        if row.tasks[task].status == "dropped":
            values |= dict.fromkeys(slots_of(row.label, task), "unknown")
    return SceneLabel(**values)


def _answered(gold: Gold) -> list[Judged]:
    out = []
    for row, answer in zip(gold.samples, gold.answers, strict=True):
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
            told = seen(
                expert.detect([image])[0], image, expert.sees,
                by=expert.name, corridor=config.fusion.corridor,
            )  # fmt: skip
            out += judge(believed(row), told, expert.name, row.tags)
    return out
