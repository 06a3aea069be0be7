"""Promotion: a candidate's edits, one after the other, on scenes that no search has touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import sha256_file
from edgekit.core.label import TASKS
from edgekit.dataset import Sample
from edgekit.dataset.bootstrap import interval, resample
from edgekit.dataset.score import DETECTED
from edgekit.engine.answerer import Answer
from edgekit.library import Library
from edgekit.prompts.edits import Edit, apply
from edgekit.prompts.front import Score, goal_of, per_frame, score_of

LEVEL = 0.95
# By luck alone k scenes all lean one way in 2 of 2^k cases: with 5 scenes more often than in 1 of 20.
LEAST_SCENES = 6

Ask = Callable[[Library, Sequence[Sample]], tuple[list[Answer], list[int]]]  # answers, tokens


class Step(NamedTuple):
    """An edit on the held-out scenes: the library with it minus the library before it.

    interval: of the difference of ``goal_of``, at ``level``, paired, scenes resampled whole; worse: the tasks
    whose own interval says that they lost more than the margin; tokens: the difference, the mean over frames.
    """

    edit: Edit
    kept: bool
    why: str
    difference: float = 0.0
    interval: tuple[float, float] | None = None
    level: float = LEVEL
    tokens: float = 0.0
    worse: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        return {
            "edit": self.edit.record(), "kept": self.kept, "why": self.why,
            "difference": round(self.difference, 6),
            "interval": None if self.interval is None else list(self.interval),
            "level": round(self.level, 6), "tokens": round(self.tokens, 2), "worse": list(self.worse),
        }  # fmt: skip


class Promotion(NamedTuple):
    library: Library
    steps: list[Step]
    before: Score
    after: Score
    answers: tuple[list[Answer], list[Answer]]  # of the held-out rows, before and after


def require_apart(
    searched: Sequence[Sample], held: Sequence[Sample], image: Callable[[Sample], Path]
) -> None:
    """Raises UserError where the held-out rows are no fresh ones: a scene or an image of both, or too few scenes.

    image: where a row's lies. Only files of one size are read, for others differ.
    """
    shared = {row.scene for row in searched} & {row.scene for row in held}
    if shared:
        raise UserError(
            "prompts: the searched and the held-out split share scenes",
            f"{len(shared)} of them, the first {min(shared)}: what was fitted to them would seem to hold",
            "split the Dataset by scene",
        )
    paths = [{image(row) for row in rows} for rows in (searched, held)]
    sizes = set.intersection(*({path.stat().st_size for path in one} for one in paths))
    twice = set.intersection(*({sha256_file(p) for p in one if p.stat().st_size in sizes} for one in paths))
    if twice:
        raise UserError(
            "prompts: the searched and the held-out split share images",
            f"{len(twice)} of them, under other names",
            "split the Dataset by scene",
        )
    scenes = len({row.scene for row in held})
    if scenes < LEAST_SCENES:
        raise UserError(
            "prompts: too few held-out scenes to promote on",
            f"{scenes}, and with fewer than {LEAST_SCENES} even a difference in every one may be luck",
            "hold out more scenes, or name another split with held_out",
        )


def promote(
    first: Library,
    edits: Sequence[Edit],
    rows: Sequence[Sample],
    ask: Ask,
    median_kmh: float,
    *,
    resamples: int,
    seed: int,
    margin: float,
    fits: Callable[[Library], bool] = lambda library: True,
) -> Promotion:
    """The given library with those of ``edits`` that hold on ``rows``, each tried on what held before it.

    An edit holds if the paired interval of its difference lies above 0; one that saves tokens, if it lies
    above −margin. And no task may be worse for it by clearly more than the margin.

    n edits are n looks at these scenes, and one false promotion shall stay a 5 % matter in all: each has
    0.05 / n of its own, and what the edit before it has not used up by failing (the fallback procedure, Wiens 2003).
    The tasks' intervals are at a fourth of that. fits: whether a library is within the token budget.
    """
    own = carried = (1 - LEVEL) / max(len(edits), 1)
    scenes = [row.scene for row in rows]

    def drawn(answers: Sequence[Answer]) -> dict[str, np.ndarray]:
        return resample(per_frame(rows, answers, median_kmh), scenes, resamples, seed)

    library, (answers, tokens) = first, ask(first, rows)
    before = after = score_of(rows, answers, tokens, median_kmh)
    first_answers, here = answers, drawn(answers)
    steps: list[Step] = []
    for edit in edits:
        trial = apply(library, edit)
        if trial is None:
            steps.append(Step(edit, False, "it needs an edit that did not hold"))
            continue
        if not fits(trial):
            steps.append(Step(edit, False, "over the token budget without an edit that did not hold"))
            continue
        level = 1 - carried
        said, cost = ask(trial, rows)
        there, score = drawn(said), score_of(rows, said, cost, median_kmh)
        between = tuple(interval(goal_of(there) - goal_of(here), level))
        saved = score.tokens < after.tokens
        worse = clearly_worse(here, there, 1 - (1 - level) / len(TASKS), margin)
        kept = between[0] > (-margin if saved else 0) and not worse
        why = told(kept, saved, worse, margin)
        steps.append(
            Step(edit, kept, why, score.goal - after.goal, between, level, score.tokens - after.tokens, worse)
        )
        carried = own + (carried if kept else 0)
        if kept:
            library, answers, here, after = trial, said, there, score
    return Promotion(library, steps, before, after, (first_answers, answers))


def clearly_worse(
    before: dict[str, np.ndarray], after: dict[str, np.ndarray], level: float, margin: float
) -> tuple[str, ...]:
    """Tasks whose F1 (speed: sMAPE) is worse by more than ``margin`` in the whole interval."""
    differences = {task: after[f"{task}/f1"] - before[f"{task}/f1"] for task in DETECTED}
    differences["speed"] = before["speed/smape"] - after["speed/smape"]
    return tuple(task for task, values in differences.items() if interval(values, level)[1] < -margin)


def told(kept: bool, saved: bool, worse: tuple[str, ...], margin: float) -> str:
    if worse:
        return f"clearly worse at {', '.join(worse)}"
    if saved:
        less = (
            f"fewer tokens, and {'no more than' if kept else 'maybe more than'} {margin:g} of the score lost"
        )
        return less
    return "better" if kept else "not shown to be better"
