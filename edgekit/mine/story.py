"""One drive's labels on their way: what each step made of them, and the marks that a row keeps of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.core.label import TASKS, SceneLabel
from edgekit.drives import Drive, FrameTruth
from edgekit.mine import rows
from edgekit.mine.asking import Asked
from edgekit.mine.chain import Chain, decode
from edgekit.mine.config import MineConfig, Smoothing
from edgekit.mine.experts.fusion import Fused, fuse
from edgekit.mine.experts.reliability import Reliability
from edgekit.mine.experts.see import Said
from edgekit.mine.measure import Mined
from edgekit.mine.motion import Fired, Rule, apply, facts
from edgekit.mine.smooth import OTHERS, Window, smooth, spans


def windows_of(smoothing: Smoothing) -> dict[str, Window]:
    """By task, and for all others under ``OTHERS``."""

    def window(span) -> Window:
        return Window(**span.model_dump(include=set(Window.__dataclass_fields__)))

    return {OTHERS: window(smoothing)} | {task: window(span) for task, span in smoothing.tasks.items()}


class Story:
    """The frames ``numbers`` of a drive. steps: label lists, ``raw`` first, each step that is switched on after it.

    said: what each detector says of each frame, empty without any. ``row(i)`` gives the i-th frame's label and marks.
    """

    def __init__(
        self, drive: Drive, numbers: Sequence[int], truth: dict[int, FrameTruth], asked: list[Asked],
        said: Sequence[Sequence[Said]], config: MineConfig, rules: Sequence[Rule], reliability: Reliability | None,
        chain: Chain | None = None,
    ):  # fmt: skip
        self.drive, self.numbers, self.asked = drive, numbers, asked
        self.truth = [truth.get(n) for n in numbers]
        self.times_s: list[float] = drive.times_s[numbers].tolist()
        speeds = drive.speeds_mps()
        self.speeds = [speeds[n] for n in numbers]
        self.steps: dict[str, list[SceneLabel]] = {"raw": [a.answer.seen for a in asked]}
        self.reach: dict[str, np.ndarray] = {}  # (n, 2): first and past the last frame of each one's window
        self.lasting: list[dict[str, float]] = []
        self.fired: list[Sequence[Fired]] = []
        self.fused: list[Fused] = []
        # Every drive has the same steps, so that they can be told together: one without time is left as it is.
        if config.smoothing:
            self.steps["smoothed"] = self._smooth(config.smoothing) if drive.in_time else self.labels
        if chain and config.chain:
            self.steps["chained"] = self._chain(chain, config.chain.sure) if drive.in_time else self.labels
        if rules:
            self.steps["motion"] = self._move(rules) if drive.in_time else self.labels
        if said:
            for i, one in enumerate(said):
                label, marks = self._told(i)
                sure = {task: mark.confidence for task, mark in marks.items()}
                self.fused.append(
                    fuse(label, sure, one, reliability, drive.info.tags, margin=config.fusion.margin)
                )
            self.steps["fused"] = [fused.label for fused in self.fused]

    @property
    def labels(self) -> list[SceneLabel]:
        """As the last step left them."""
        return next(reversed(self.steps.values()))

    def id(self, i: int) -> str:
        return f"{self.drive.id}/{self.numbers[i]:06d}"

    def row(self, i: int) -> tuple[SceneLabel, rows.Marks]:
        label, marks = self._told(i)
        if self.fused:
            rows.weighed(marks, label, self.fused[i])
            label = self.fused[i].label
        return label, rows.closed(marks, label)

    def mined(self) -> Mined:
        """What ``measure`` asks of it."""
        windows = {task: (reach[:, 1] - reach[:, 0]).tolist() for task, reach in self.reach.items()}
        return Mined(self.drive.id, self.drive.scene, self.steps, self.truth, windows)

    def why(self, i: int, task: str) -> str:
        """Why a person should look at it, in words."""
        told = [f"{f.rule} ({f.action})" for f in (self.fired[i] if self.fired else ()) if f.task == task]
        if self.fused and self.fused[i].status.get(task) == "review":
            told.append("the teacher and a detector disagree")
        return "; ".join(told)

    def _smooth(self, smoothing: Smoothing) -> list[SceneLabel]:
        windows = windows_of(smoothing)
        reach = {
            name: np.array(spans(self.times_s, self.speeds, window, smoothing.causal), np.int32).reshape(
                -1, 2
            )
            for name, window in windows.items()
        }
        self.reach = {task: reach.get(task, reach[OTHERS]) for task in TASKS}
        return smooth(self.steps["raw"], self.times_s, self.speeds, windows, smoothing.causal)

    def _chain(self, chain: Chain, sure: float) -> list[SceneLabel]:
        after, self.lasting = decode(
            chain,
            self.steps["raw"],
            self.labels,
            self.times_s,
            self.speeds,
            sure,
            self._measured("speed_mps"),
        )
        return after

    def _move(self, rules: Sequence[Rule]) -> list[SceneLabel]:
        before = self.labels
        speeds, accels, yaws = map(self._measured, ("speed_mps", "accel_mps2", "yaw_rate_rps"))
        moved = facts(self.times_s, speeds, accels, yaws, before)
        after, self.fired = apply(before, moved, rules)
        return after

    def _measured(self, name: str) -> list[float | None]:
        """None where nothing was measured: what was filled into a gap convicts no label."""
        known = self.drive.telemetry
        if known is None:
            return [None] * len(self.numbers)
        return [float(v) if np.isfinite(v) else None for v in known.measured(name)[self.numbers]]

    def _told(self, i: int) -> tuple[SceneLabel, rows.Marks]:
        """The i-th frame before detectors spoke."""
        marks, label = rows.answered(self.asked[i]), self.steps["raw"][i]
        if self.reach:
            after = self.steps["smoothed"][i]
            spans_s = {
                t: self.times_s[last - 1] - self.times_s[first] for t, (first, last) in self._within(i)
            }
            votes = {t: self.asked[first:last] for t, (first, last) in self._within(i)}
            rows.smoothed(marks, label, after, votes, {t: round(s, 3) for t, s in spans_s.items()})
            label = after
        if self.lasting:
            rows.chained(marks, label, self.steps["chained"][i], self.lasting[i])
            label = self.steps["chained"][i]
        if self.fired:
            label = self.steps["motion"][i]
            rows.moved(marks, label, self.fired[i])
        return label, marks

    def _within(self, i: int) -> list[tuple[str, tuple[int, int]]]:
        return [(task, tuple(reach[i].tolist())) for task, reach in self.reach.items()]
