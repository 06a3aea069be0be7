"""The loop against the clock: a reader, an answerer and a display, each at its own pace.

    reader ──newest frame──▶ answerer ──advice that stands──┐
       └─────newest frame──▶ display ◀──────────────────────┘

The camera does not wait: a frame that nobody took when the next one comes is dropped and counted.
Advice is as old as its frame; what came after the deadline is late for as long as it is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import EdgekitError, UserError
from edgekit.demo.advice import Shown
from edgekit.demo.log import Current
from edgekit.demo.loop import Loop
from edgekit.demo.slot import NewestSlot

HANG_S = 30.0  # after the drive's end the last answer gets this long
_LOOK_S = 0.2  # how often a waiting thread looks whether it is to stop


class Captured(NamedTuple):
    frame: int
    t_s: float
    speed_mps: float | None
    image: np.ndarray


class Realtime:
    """One pass over a drive in real time. ``run()`` yields annotated frames, one per camera tick."""

    def __init__(self, loop: Loop):
        self.loop = loop
        self.to_answer: NewestSlot[Captured] = NewestSlot()
        self.to_show: NewestSlot[Captured] = NewestSlot()
        self.current: Current | None = None
        self.failure: BaseException | None = None
        self._began = 0.0
        self._unread = 0

    def now_s(self) -> float:
        """Seconds on the drive's clock: 0 is the capture of frame 0."""
        return time.perf_counter() - self._began

    def run(self) -> Iterator[np.ndarray]:
        """A frame that was not shown is stood for by the last one shown, so that the video keeps time.

        Raises what a thread died of, as an EdgekitError; the log holds all that came before it.
        """
        loop = self.loop
        self._began = time.perf_counter()
        threads = [self._thread("reader", self._read), self._thread("answerer", self._answer)]
        try:
            yield from self._display()
            self._join(threads)
        finally:
            loop.stop.set()
            self.to_answer.close()
            self.to_show.close()
            if loop.source.loop and self.failure is None:
                threads[1].join(HANG_S)  # the end that was meant: the answer under way is still logged
            self._count_dropped()
        if self.failure is not None:
            raise self.failure
        if loop.counts.answered == 0 and loop.counts.broken:
            raise UserError(
                f"demo: no frame of {loop.source.drive.id} decodes",
                f"{loop.counts.broken} broken frames",
                "check the drive",
            )

    def _display(self) -> Iterator[np.ndarray]:
        upto, drawn = 0, None
        while not self.to_show.finished and self.failure is None and not self.loop.stop.is_set():
            captured = self.to_show.take(_LOOK_S)
            if captured is None:
                continue
            current = self.current
            shown = Shown("none") if current is None else current.at(self.now_s())
            before = drawn
            drawn = self.loop.draw(captured.image, shown, captured.frame, captured.t_s, captured.speed_mps)
            for _ in range(upto, captured.frame):
                yield drawn if before is None else before
            upto = captured.frame + 1
            yield drawn

    def _read(self) -> None:
        loop, tick = self.loop, 1 / self.loop.source.fps
        for shot in loop.source:
            wait = shot.t_s - self.now_s()
            if wait > 0 and loop.stop.wait(wait):
                return
            if loop.stop.is_set():
                return
            if self.now_s() > shot.t_s + tick:  # the next one is there already
                self._unread += 1
                continue
            with loop.stages.time("decode_frame"):
                image = shot.load()
            if image is None:
                loop.counts.broken += 1
                loop.log.skip(shot.frame, shot.t_s)
                continue
            captured = Captured(shot.frame, shot.t_s, shot.speed_mps, image)
            self.to_answer.put(captured)
            self.to_show.put(captured)

    def _answer(self) -> None:
        loop = self.loop
        while not self.to_answer.finished and not loop.stop.is_set():
            captured = self.to_answer.take(_LOOK_S)
            if captured is None:
                continue
            raw = loop.ask(captured.image)
            age_s = round(self.now_s() - captured.t_s, 6)
            loop.count_answer(age_s * 1e3)
            self._count_dropped()
            row, self.current = loop.adviser.hear(
                captured.frame, captured.t_s, captured.speed_mps, raw, age_s
            )
            loop.log.write(row)

    def _count_dropped(self) -> None:
        self.loop.counts.dropped = self.to_answer.dropped + self._unread

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except EdgekitError as error:
                self.failure = self.failure or error
            except Exception as error:  # whatever it was: the display must not go on as if all were well
                self.failure = self.failure or EdgekitError(
                    f"demo: the {name} died",
                    f"{type(error).__name__}: {error}",
                    "the log up to there is whole; run again, with --debug for more",
                )
                self.failure.__cause__ = error
            finally:
                if self.failure is not None:
                    self.loop.stop.set()
                if name == "reader" or self.failure is not None:
                    self.to_answer.close()
                    self.to_show.close()

        thread = threading.Thread(target=guarded, name=f"demo-{name}", daemon=True)
        thread.start()
        return thread

    def _join(self, threads: list[threading.Thread]) -> None:
        """Waits for the last answer; a model that hangs is an error, not a hang of the demo."""
        if self.loop.stop.is_set():
            return
        until = time.monotonic() + HANG_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self.failure is None and any(thread.is_alive() for thread in threads):
            self.failure = EdgekitError(
                "demo: the model hangs",
                f"no answer {HANG_S:.0f} s after the last frame",
                "see if `edgekit evaluate` answers with the same model",
            )
