"""How often a voice (the teacher, each expert) is right, from a small gold set: counts, shrunk to what is known better.

For a voice and a task: the rate of right answers, with a Beta prior; for a value that it says (red, person), drawn
to the task's rate; for a slice (night), drawn to the task's rate. And how its own confidence relates to being right:
a curve of few bins made to rise (calibrate.py). They meet in log-odds: the curve's, plus how far the value
and the slice shift it. With no gold at all everybody is at 1/2, whatever they claim: nobody is overruled, nothing
that was left open is filled.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.label import TASK_OF, TASKS, SceneLabel
from edgekit.dataset.score import state
from edgekit.mine.experts.calibrate import INSIDE, Curve, rising
from edgekit.mine.experts.see import Said

SCHEMA = "edgekit/reliability/1"
PRIOR = (1.0, 1.0)  # right and wrong answers that everybody starts with: who is not measured is worth nothing
STRENGTH = 8.0  # how many answers of a value or a slice weigh as much as the rate that they are drawn to


class Judged(NamedTuple):
    """One answer of a voice to a task of a gold row. slices: the row's tags."""

    voice: str
    task: str
    value: str
    confidence: float
    right: bool
    slices: tuple[str, ...] = ()


class Reliability:
    """Calibrated probabilities. Make it with ``measure`` or ``load``; empty, it knows the prior alone."""

    def __init__(self, judged: Iterable[Judged] = ()):
        self.counts: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
        pairs = defaultdict(list)
        for j in judged:
            for key in (("", ""), (j.value, ""), *(("", tag) for tag in dict.fromkeys(j.slices))):
                self.counts[j.voice, j.task, *key][0 if j.right else 1] += 1
            pairs[j.voice, j.task].append((j.confidence, j.right))
        self.curves: dict[tuple[str, str], Curve] = {
            key: rising([c for c, _ in found], [r for _, r in found], self.rate(*key), STRENGTH)
            for key, found in pairs.items()
        }

    def rate(self, voice: str, task: str, value: str = "", tag: str = "") -> float:
        """The share of right answers in (0, 1), drawn to the voice's in the task, and that to the prior's."""
        right, wrong = self.counts.get((voice, task, value, tag), (0, 0))
        if not value and not tag:
            return (right + PRIOR[0]) / (right + wrong + sum(PRIOR))
        parent = self.rate(voice, task)
        return (right + STRENGTH * parent) / (right + wrong + STRENGTH)

    def probability(
        self, voice: str, task: str, slices: Sequence[str], confidence: float, value: str = ""
    ) -> float:
        """That the voice is right, in (0, 1); it never falls as ``confidence`` rises.

        slices: the frame's tags; the one that shifts the odds furthest counts, the others often say the same again.
        """
        whole = _log_odds(self.rate(voice, task))
        curve = self.curves.get((voice, task))
        total = _log_odds(curve.at(confidence)) if curve else whole
        if value:
            total += _log_odds(self.rate(voice, task, value)) - whole
        total += max(
            (_log_odds(self.rate(voice, task, "", tag)) - whole for tag in sorted(slices)),
            key=abs, default=0.0,
        )  # fmt: skip
        return min(max(1 / (1 + math.exp(-total)), INSIDE), 1 - INSIDE)

    def knows(self, voice: str, task: str) -> int:
        """How many gold answers stand behind a voice in a task."""
        return sum(self.counts.get((voice, task, "", ""), (0, 0)))

    def table(self) -> list[dict[str, Any]]:
        """For a report: each voice, task, value and slice with its counts, share and shrunk rate."""
        return [
            {
                "voice": voice, "task": task, "value": value, "slice": tag, "right": right,
                "wrong": wrong, "rate": round(self.rate(voice, task, value, tag), 4),
            }
            for (voice, task, value, tag), (right, wrong) in sorted(self.counts.items())
        ]  # fmt: skip

    def save(self, path: str | Path) -> None:
        """JSON: the table, and each voice's curve."""
        curves = [
            {"voice": voice, "task": task, "confidence": curve.confidence, "probability": curve.probability}
            for (voice, task), curve in sorted(self.curves.items())
        ]
        write_json(path, {"schema": SCHEMA, "counts": self.table(), "curves": curves})

    @classmethod
    def load(cls, path: str | Path) -> Reliability:
        """Raises UserError for a file that is not of this schema, or whose numbers cannot be."""
        out = cls()
        try:
            raw = read_json(path)
            if raw["schema"] != SCHEMA:
                raise ValueError(f"its schema is {raw['schema']!r}, this edgekit reads {SCHEMA!r}")
            for row in raw["counts"]:
                counted = [int(row["right"]), int(row["wrong"])]
                if min(counted) < 0:
                    raise ValueError(f"{row} counts below 0")
                out.counts[row["voice"], row["task"], row["value"], row["slice"]] = counted
            for row in raw["curves"]:
                told = (tuple(map(float, row[key])) for key in ("confidence", "probability"))
                out.curves[row["voice"], row["task"]] = Curve(*told).checked()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not a reliability", str(error)[:200] or type(error).__name__,
                "make it with edgekit.mine.experts.measure(...).save(path)",
            ) from None  # fmt: skip
        return out


def measure(judged: Iterable[Judged]) -> Reliability:
    """The reliability of the voices on a gold set (``judge`` makes its rows)."""
    return Reliability(judged)


def judge(
    truth: SceneLabel, what: SceneLabel | Said, voice: str, tags: Sequence[str] = (),
    confidence: dict[str, float] | None = None,
) -> list[Judged]:  # fmt: skip
    """A gold row's judgement of what one voice said; what truth does not tell is not judged.

    what: a teacher's label with its ``confidence`` per task (judged by the task's state), or an expert's opinion
    (by slot; a denial is right where truth has another value).
    """
    tags, out = tuple(tags), []
    if isinstance(what, SceneLabel):
        for task in TASKS:
            true, value = state(truth, task), state(what, task)
            if "unknown" not in (true, value):
                sure = (confidence or {}).get(task, 1.0)
                out.append(Judged(voice, task, value, sure, value == true, tags))
        return out
    for slot, (value, sure) in what.opinions.items():
        true = getattr(truth, slot)
        if true != "unknown":
            out.append(Judged(voice, TASK_OF[slot], value, sure, value == true, tags))
    for slot, values in what.denied.items():
        true = getattr(truth, slot)
        if true != "unknown":
            out += [
                Judged(voice, TASK_OF[slot], f"not {v}", sure, v != true, tags) for v, sure in values.items()
            ]
    return out


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)  # a file can hold counts that round to certainty
    return math.log(p / (1 - p))
