"""A study: the same distillation in several arms and seeds, scored on held-out scenes, with intervals.

Answers what one run cannot: whether KL + CE beats CE alone. Each (arm, seed) is a run of its own below
the study's directory, so a killed study goes on with the arm that it was in.
"""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

from edgekit.core.contract import require_same
from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.label import TASKS
from edgekit.core.run import Run, start
from edgekit.dataset import Dataset, open_dataset
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.dataset.bootstrap import interval, resample
from edgekit.dataset.score import Counts, counts, median_kmh, metrics_of
from edgekit.distill.config import DistillConfig


def study(config: DistillConfig, run: Run, one) -> None:
    """Runs ``one(config, run)`` for every arm and seed; writes ``study.json`` to ``run.out``.

    The first arm is the control: differences are "arm − first arm" over resampled scenes and seeds.
    Raises UserError, before the first arm, for test data that is empty, of another contract, or of
    scenes that are trained on.
    """
    test = open_dataset(run.inputs["test_data"][0].out)
    _check(test, [open_dataset(i.out) for i in run.inputs["data"]])
    results: dict[str, list[Counts]] = {}
    arms: dict[str, list[dict[str, Any]]] = {}
    scenes = [row.scene for row in test.rows("test")]
    for arm in config.study.arms:
        for seed in config.study.seeds:
            run.say(f"study: arm {arm}, seed {seed}")
            inner = start("distill", config.arm(arm, seed), arm, run.path / "arms" / f"{arm}-{seed}")
            digest = (
                read_json(inner.path / "manifest.json")["digest"] if inner.complete else _finish(inner, one)
            )
            per_frame = _score(inner, test, config.train.batch)
            results.setdefault(arm, []).append(per_frame)
            told = {"seed": seed, "digest": digest, "average": round(_average(per_frame), 5)}
            arms.setdefault(arm, []).append(told)
    control, *others = results
    write_json(
        run.out / "study.json",
        {
            "test_scenes": len(set(scenes)),
            "test_frames": len(scenes),
            "control": control,
            "arms": arms,
            "differences": {arm: difference(results[arm], results[control], scenes) for arm in others},
        },
    )


def difference(arm: list[Counts], control: list[Counts], scenes: list[str], draws: int = 1000) -> dict:
    """Average(arm) − Average(control): mean over seeds, and a 95 % interval over scenes and seeds.

    Scenes are drawn alike for both (paired); seeds are drawn with replacement beside them, because
    three seeds are three samples of training, not one.
    """
    of_arm, of_control = (
        np.stack([resample(c, scenes, draws, seed=0)["average"] for c in side]) for side in (arm, control)
    )  # (seeds, draws)
    random = np.random.default_rng(1)
    picked = random.integers(len(arm), size=(len(arm), draws))
    column = np.arange(draws)
    drawn = of_arm[picked, column].mean(axis=0) - of_control[picked, column].mean(axis=0)
    low, high = interval(drawn)
    mean = float(np.mean([_average(a) - _average(c) for a, c in zip(arm, control, strict=True)]))
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return {"difference": round(mean, 5), "interval": [low, high], "verdict": verdict}


def _average(per_frame: Counts) -> float:
    return float(metrics_of({k: v.sum(axis=0) for k, v in per_frame.items()})["average"])


def _check(test: Dataset, datasets: list[Dataset]) -> None:
    scenes = {row.scene for row in test.rows("test")}
    if not scenes:
        raise UserError(
            f"study: {test.root} scores nothing", "its test split holds 0 frames", "name other test_data"
        )
    for data in datasets:
        require_same(data.contract, test.contract, f"{data.root} beside test_data {test.root}")
        if both := sorted(scenes & {row.scene for row in data.rows("train")}):
            raise UserError(
                f"study: {test.root} is no held-out data",
                f"{len(both)} of its {len(scenes)} test scenes are train scenes of {data.root}: {', '.join(both[:3])}",
                "name test_data of other scenes",
            )


def _finish(run: Run, one) -> str:
    one(run.config, run)
    shutil.rmtree(run.out / "before", ignore_errors=True)  # alike for all arms of a seed
    return run.finish()


def _score(run: Run, test: Dataset, batch: int) -> Counts:
    from edgekit.models.answerer import TorchAnswerer

    rows = test.rows("test")
    log = AnswerLog(run.path / "answers.jsonl")
    answers = ask_all(
        TorchAnswerer(run.out, batch=batch),
        [row.id for row in rows],
        [row.user_text for row in rows],
        lambda first: (test.image(row) for row in rows[first:]),
        log,
        batch,
        what="scoring",
    )
    masks = {task: [row.tasks[task].status != "dropped" for row in rows] for task in TASKS}
    median = median_kmh([row.label for row in test.rows("train")] or [row.label for row in rows])
    return counts([row.label for row in rows], masks, [a.seen for a in answers], median)
