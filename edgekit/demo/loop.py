"""What both loops share: asking, drawing, counting. And the loop in order, where no clock presses."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event

import numpy as np

from edgekit.core.errors import EdgekitError, UserError
from edgekit.demo import hud
from edgekit.demo.advice import Shown
from edgekit.demo.log import Adviser, Log
from edgekit.demo.source import Source
from edgekit.demo.stages import Stages
from edgekit.demo.truth import beside
from edgekit.demo.view import View
from edgekit.engine.answerer import Answer, Answerer

# What an answerer tells of its last answer, and what it is called here.
_TOLD = {
    "preprocess": "preprocess_ms",
    "vision": "vision_ms",
    "prefill": "prefill_ms",
    "decode_answer": "decode_ms",
}


@dataclass
class Counts:
    """Frames by their fate. ``missed`` of the answered came after the deadline."""

    answered: int = 0
    missed: int = 0
    dropped: int = 0
    broken: int = 0
    shown: int = 0
    without_advice: int = 0  # of the shown: nothing stood, or it had outlived its time


@dataclass
class Loop:
    """The parts of one run of the loop; ``stop`` ends it early (a signal)."""

    source: Source
    answerer: Answerer
    prompt: str
    adviser: Adviser
    log: Log
    width: int
    view: View | None = None
    stop: Event = field(default_factory=Event)
    stages: Stages = field(default_factory=Stages)
    counts: Counts = field(default_factory=Counts)
    ages_ms: list[float] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self._takes = inspect.signature(self.answerer.answer).parameters
        self._truth = (self.source.drive.truth() if self.view is not None else None) or {}
        self._last: Answer | None = None

    def warm_up(self, answers: int) -> None:
        """Asks about the first frame, outside every count: first calls allocate and compile."""
        image = self.source.first()
        for _ in range(answers):
            self._ask(image)

    def ask(self, image: np.ndarray) -> str:
        """The raw answer to one frame, RGB uint8 (H, W, 3); its stages are timed."""
        with self.stages.time("answer"):
            text = self._ask(image)
        for stage, name in _TOLD.items():
            if name in (told := getattr(self.answerer, "last_timing", {})):
                self.stages.add(stage, told[name])
        return text

    def _ask(self, image: np.ndarray) -> str:
        """The last answer goes along as a draft where the answerer takes one: fewer passes, same answer."""
        draft = {"draft": self._last.label} if self._last and "draft" in self._takes else {}
        try:
            self._last = self.answerer.answer([image], [self.prompt], **draft)[0]
            return self._last.text
        except EdgekitError:
            raise
        except Exception as error:
            raise EdgekitError(
                "demo: the model failed on a frame",
                f"{type(error).__name__}: {error}",
                "see if `edgekit evaluate` answers with the same model; run with --debug for the traceback",
            ) from error

    def count_answer(self, latency_ms: float) -> None:
        self.counts.answered += 1
        self.counts.missed += latency_ms > self.adviser.deadline_s * 1e3

    def draw(
        self, image: np.ndarray, shown: Shown, frame: int, t_s: float, speed_mps: float | None
    ) -> np.ndarray:
        """The annotated frame, RGB uint8; the live page gets it too."""
        if self.size is None:  # the first frame decides; a later one of another size is fitted to it
            self.size = hud.size_of(image.shape[1], image.shape[0], self.width)
        with self.stages.time("draw"):
            drawn = hud.draw(image, shown, speed_mps, self.size)
        self.counts.shown += 1
        self.counts.without_advice += shown.state == "none"
        if shown.age_ms is not None:
            self.ages_ms.append(shown.age_ms)
        if self.view is not None:
            counts = self.counts
            true = self._truth.get(frame % self.source.count)  # of the frame shown: an old answer errs
            more = {"truth": beside(shown, true)} if true else {}
            self.view.show(
                drawn, shown, frame=frame, t_s=t_s, speed_mps=speed_mps, frames=self.source.count,
                miss_rate=counts.missed / max(counts.answered, 1),
                dropped_rate=counts.dropped / max(counts.dropped + counts.answered, 1),
                deadline_ms=self.adviser.deadline_s * 1e3, stages=self.stages.recent(), ended=False,
                **more,
            )  # fmt: skip
        return np.asarray(drawn)


def in_order(loop: Loop) -> Iterator[np.ndarray]:
    """Every frame, one after the other, as fast as it goes; yields the annotated frames.

    The advice is reckoned as if every answer came at once: it depends on the frames alone. What the
    answer really took stands on the frame's badge and in the timings, never in the log.
    """
    for shot in loop.source:
        if loop.stop.is_set():
            return
        began = time.perf_counter()
        with loop.stages.time("decode_frame"):
            image = shot.load()
        if image is None:
            loop.counts.broken += 1
            loop.log.skip(shot.frame, shot.t_s)
            continue
        raw = loop.ask(image)
        latency_ms = (time.perf_counter() - began) * 1e3
        loop.count_answer(latency_ms)
        row, current = loop.adviser.hear(shot.frame, shot.t_s, shot.speed_mps, raw, 0.0)
        loop.log.write(row)
        state = "late" if latency_ms > loop.adviser.deadline_s * 1e3 else "fresh"
        measured = Shown(state, current.advice, current.label, latency_ms, latency_ms)
        yield loop.draw(image, measured, shot.frame, shot.t_s, shot.speed_mps)
    if loop.counts.answered == 0 and not loop.stop.is_set():
        raise UserError(
            f"demo: no frame of {loop.source.drive.id} decodes",
            f"{loop.counts.broken} broken frames",
            "check the drive",
        )
