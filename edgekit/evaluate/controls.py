"""Controls that must fail: the same questions with blanked and with other scenes' images.

Where prompts differ from frame to frame, a model that finds the answer in the prompt stays above
chance here, and is caught. Where all frames have one prompt, arithmetic alone puts every model at
chance: one answer to all blanked frames is right in one class, and its own answers dealt out to
other scenes agree with them by chance. So chance here does not show that a model sees: that is
shown by how far it is above these controls with true images (``gate.sight``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgekit.core.label import TASKS, SceneLabel
from edgekit.core.run import Run
from edgekit.dataset import Dataset, Sample
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.dataset.score import masks_of, score
from edgekit.engine.answerer import Answer, Answerer
from edgekit.evaluate.config import EvaluateConfig

GREY = 128


def control(
    config: EvaluateConfig, run: Run, model: Answerer, dataset: Dataset, rows: list[Sample],
    answers: list[Answer], median: float,
) -> dict[str, Any] | None:  # fmt: skip
    """The same questions with grey images, and with other scenes' images."""
    if not config.shuffles:
        return None
    log = AnswerLog(run.state / "controls.jsonl")
    truths, masks = [row.label for row in rows], masks_of(rows)
    blank = blanked(model, rows, log, config.batch)
    out: dict[str, Any] = {"blank": control_scores(truths, masks, [blank], median), "shuffled": None}
    random = np.random.default_rng(config.seed)
    orders = [derangement([row.scene for row in rows], random) for _ in range(config.shuffles)]
    if any(order is None for order in orders):
        run.note("no shuffled control: one scene holds more than half of the frames")
        return out
    wrong = [shuffled(model, dataset, rows, answers, o, log, config.batch) for o in orders]
    out["shuffled"] = {
        "permutations": config.shuffles,
        **control_scores(truths, masks, wrong, median),
    }
    return out


def derangement(scenes: Sequence[str], random: np.random.Generator) -> np.ndarray | None:
    """A permutation (n,) that gives each frame an image of another scene; None where none exists.

    Frames are laid out scene by scene in random order and turned by at least the largest scene's
    length: no frame can then land in its own scene.
    """
    n = len(scenes)
    names, sizes = np.unique(np.asarray(scenes, dtype=str), return_counts=True)
    if n == 0 or 2 * sizes.max() > n:
        return None
    rank = {name: r for name, r in zip(names, random.permutation(len(names)), strict=True)}
    order = np.array(sorted(range(n), key=lambda i: (rank[scenes[i]], i)))
    # within a scene, at random too
    for r in range(len(names)):
        held = np.flatnonzero([rank[scenes[i]] == r for i in order])
        order[held] = random.permutation(order[held])
    shift = int(random.integers(sizes.max(), n - sizes.max() + 1))
    out = np.empty(n, dtype=int)
    out[order] = np.roll(order, shift)
    return out


def blanked(answerer: Answerer, rows: Sequence[Sample], log: AnswerLog, batch: int) -> list[Answer]:
    """Answers to a constant grey image: one question per distinct prompt."""
    contract = answerer.contract
    grey = np.full((contract.height, contract.width, 3), GREY, np.uint8)
    prompts = sorted({row.user_text for row in rows})
    answers = ask_all(
        answerer, [f"blank?{p}" for p in prompts], prompts,
        lambda first: (grey for _ in prompts[first:]), log, batch, "asking about nothing",
    )  # fmt: skip
    by_prompt = dict(zip(prompts, answers, strict=True))
    return [by_prompt[row.user_text] for row in rows]


def shuffled(
    answerer: Answerer, dataset: Dataset, rows: Sequence[Sample], own: Sequence[Answer],
    order: np.ndarray, log: AnswerLog, batch: int,
) -> list[Answer]:  # fmt: skip
    """Answers to row i's prompt with row order[i]'s image.

    Where that row's own prompt is the same text its own answer is the answer, and nothing is asked.
    """
    out: list[Answer | None] = [
        own[j] if rows[j].user_text == rows[i].user_text else None for i, j in enumerate(order)
    ]
    missing = [i for i, answer in enumerate(out) if answer is None]
    found = ask_all(
        answerer, [f"{rows[order[i]].id}?{rows[i].user_text}" for i in missing],
        [rows[i].user_text for i in missing],
        lambda first: (dataset.image(rows[order[i]]) for i in missing[first:]),
        log, batch, "asking about other images",
    )  # fmt: skip
    for i, answer in zip(missing, found, strict=True):
        out[i] = answer
    return out  # type: ignore[return-value]


def control_scores(
    truths: Sequence[SceneLabel], masks: dict, answers: Sequence[Sequence[Answer]], median: float
) -> dict[str, float]:
    """Average and balanced accuracies, the mean over several sets of answers."""
    names = ["average", *(f"{task}/{k}" for task in TASKS for k in ("balanced", "chance"))]
    each = [score(truths, masks, [a.seen for a in set_], median) for set_ in answers]
    return {name: round(float(np.mean([e[name] for e in each])), 6) for name in names}
