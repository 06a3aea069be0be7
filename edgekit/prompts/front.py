"""The score of a library's answers, and the front: no candidate on it is beaten in both score and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from edgekit.dataset import Sample
from edgekit.dataset.score import DETECTED, Counts, counts, masks_of, metrics_of
from edgekit.engine.answerer import Answer
from edgekit.library import Library
from edgekit.prompts.edits import Edit

SHOWN = ("average", *(f"{task}/f1" for task in DETECTED), "speed/smape")


def goal_of(metrics: dict[str, Any]) -> Any:
    """The one number that is searched for, 0..1: the mean over the four tasks.

    Of a detected task the mean of precision, recall and F1 (so that three of the four parts are the paper's
    Average), of speed 1 − sMAPE / 2. Floats, or arrays of resamples.
    """
    return (3 * metrics["average"] + 1 - metrics["speed/smape"] / 2) / 4


def per_frame(rows: Sequence[Sample], answers: Sequence[Answer], median_kmh: float) -> Counts:
    """Counts as ``evaluate`` scores them: a dropped task is not counted, an unparsed answer is all-unknown."""
    masks = masks_of(rows)
    return counts([row.label for row in rows], masks, [answer.seen for answer in answers], median_kmh)


class Score(NamedTuple):
    """goal: ``goal_of``; metrics: all of edgekit.dataset.score; tokens: of the prompt, the mean over frames."""

    goal: float
    metrics: dict[str, float]
    tokens: float

    def record(self) -> dict[str, float]:
        shown = {name: round(self.metrics[name], 6) for name in SHOWN}
        return {"score": round(self.goal, 6), "tokens": round(self.tokens, 2), **shown}


def score_of(
    rows: Sequence[Sample], answers: Sequence[Answer], tokens: Sequence[int], median_kmh: float
) -> Score:
    sums = {name: values.sum(axis=0) for name, values in per_frame(rows, answers, median_kmh).items()}
    metrics = {name: float(value) for name, value in metrics_of(sums).items()}
    return Score(goal_of(metrics), metrics, sum(tokens) / len(tokens))


class Candidate(NamedTuple):
    """A library, the edits that made it of the given one, and how it scores on the choosing scenes.

    drawn: its goal in resamples of these scenes, the same ones for every candidate.
    """

    library: Library
    edits: tuple[Edit, ...]
    score: Score
    drawn: np.ndarray


class Front:
    """Candidates worth having: each scores better than every one with fewer tokens.

    More tokens must pay: with as many or more than another's, a candidate joins only if it scores ``least_gain``
    better, and ``errors`` standard errors of that difference (paired, by scenes): what cannot be told from luck
    here would hardly be told from it on the held-out scenes. What lies more than ``margin`` below the first one
    never joins, however short.
    """

    def __init__(self, first: Candidate, least_gain: float, errors: float, margin: float):
        self.members, self.least_gain, self.errors = [first], least_gain, errors
        self.floor = first.score.goal - margin

    def offer(self, new: Candidate) -> bool:
        """Whether it joins; those that it beats leave."""
        if new.score.goal < self.floor or not all(self._adds(new, old) for old in self.members):
            return False
        self.members = [
            old for old in self.members
            if old.score.tokens < new.score.tokens or old.score.goal > new.score.goal
        ] + [new]  # fmt: skip
        return True

    def _adds(self, new: Candidate, old: Candidate) -> bool:
        if new.score.tokens < old.score.tokens:
            return True
        error = float(np.std(new.drawn - old.drawn))
        gain = new.score.goal - old.score.goal
        return gain > 0 and gain >= max(self.least_gain, self.errors * error)

    @property
    def best(self) -> Candidate:
        """The highest score; of equal ones the fewest tokens."""
        return max(self.members, key=lambda c: (c.score.goal, -c.score.tokens))

    def sorted(self) -> list[Candidate]:
        """By tokens, rising; so is the score."""
        return sorted(self.members, key=lambda c: (c.score.tokens, c.score.goal))
