"""demo: a model drives along, in real time or frame by frame, and says what it sees."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from edgekit.core.errors import GateError, UserError
from edgekit.core.files import read_jsonl, write_json
from edgekit.core.run import Run
from edgekit.demo.config import DemoConfig
from edgekit.demo.log import Adviser, Log, replay, write_info
from edgekit.demo.loop import Loop, in_order
from edgekit.demo.page import PageServer, check_host
from edgekit.demo.realtime import Realtime
from edgekit.demo.source import Source, choose_drive
from edgekit.demo.stages import quantiles
from edgekit.demo.view import View
from edgekit.demo.watch import write_watch
from edgekit.library import default_prompt
from edgekit.models.open import open_answerer

STOPPED = 143  # the exit code of a process that SIGTERM ended


def demo(config: DemoConfig, run: Run) -> None:
    """Advice over a drive: advice.jsonl and info.json, timing.json, annotated.mp4, watch.html.

    Raises UserError for what cannot start, EdgekitError where the model dies or hangs, GateError
    where the log does not replay to the same advice, SystemExit(143) on SIGTERM: the run is then
    not complete, and starting it again begins afresh. With ``loop`` a signal is the end that was meant:
    the log is whole and replayed, and it leaves by SystemExit(0), not complete either.
    """
    source = open_source(config, run)
    if config.page:
        check_host(config.page.host)
    if config.video and not find_spec("av"):
        raise UserError(
            "demo: no annotated video without PyAV", "av is not installed", "install it, or set video=false"
        )
    for left in run.out.iterdir():  # of a run that was killed
        left.unlink()
    answerer = open_answerer(config.kind, run.input("model"), threads=config.threads)
    prompt = default_prompt(config.prompts)
    lap_frames = source.count if config.loop else None
    write_info(
        run.out, drive=source.drive.id, fps=source.fps, model=run.inputs["model"][0].digest,
        contract=answerer.contract.digest(), prompt=prompt.record(), realtime=config.realtime,
        window=config.window, deadline_ms=config.deadline_ms, ttl_ms=config.ttl_ms,
        lap_frames=lap_frames,
    )  # fmt: skip

    view = View() if config.page else None
    loop = Loop(
        source, answerer, prompt.text,
        Adviser(config.window, config.deadline_ms, config.ttl_ms, lap_frames),
        Log(run.out), config.width, view,
    )  # fmt: skip
    with closing(loop, config, run), ended_by_signal(loop):
        loop.warm_up(config.warmup_answers)
        frames = Realtime(loop).run() if config.realtime else in_order(loop)
        total = None if config.loop else source.count
        _spend(tracked(frames, total), run.out / "annotated.mp4", source.fps, config.video)

    timing = summary(loop, config)
    write_json(run.out / "timing.json", timing)
    if config.video:
        write_watch(run.out, source.drive.id, list(read_jsonl(run.out / "advice.jsonl")), timing)
    rows, differ = replay(run.out)
    if differ:
        raise GateError(
            "demo: the log does not replay to the same advice",
            f"{len(differ)} of {rows} rows differ, the first is frame {differ[0]}",
            "report it with the log: advice must depend on the raw answers alone",
        )
    tell(run, timing, rows)
    if config.loop:
        run.say("stopped; the log is whole")
        raise SystemExit(0)


def open_source(config: DemoConfig, run: Run) -> Source:
    """The chosen drive; what is taken in place of something else is noted. Raises UserError."""
    drive, of = choose_drive(run.input("drive"), config.drive_id)
    if of > 1 and config.drive_id is None:
        run.note(f"{of} drives: the first, {drive.id}, is taken (set drive_id for another)")
    source = Source(drive, config.fps, config.max_frames, config.loop)
    if drive.foreign and drive.files:
        run.note(f"{drive.id} has no drive.json: its frames are taken by name, {source.fps:g} a second")
    if not source.has_speed:
        run.note(f"{drive.id} has no measured speed: the window takes {config.window.unknown_mps:g} m/s")
    return source


def _spend(frames: Iterable, path: Path, fps: float, video: bool) -> None:
    """Goes through the loop; with ``video`` the annotated frames become an MP4 on the way."""
    if not video:
        for _ in frames:
            pass
        return
    from edgekit.drives import encode_video

    encode_video(frames, path, fps, crf=23)


def tracked(frames: Iterable, total: int | None) -> Iterator:
    from edgekit.core.progress import track

    return track(frames, "demo", total, "frame")


@contextmanager
def closing(loop: Loop, config: DemoConfig, run: Run) -> Iterator[None]:
    """The page is up while the loop runs; the log is closed whatever happens."""
    server = None
    try:
        if loop.view is not None and config.page is not None:
            server = PageServer(loop.view, config.page.host, config.page.port)
            run.say(f"live page: {server.url}")
        yield
    finally:
        loop.log.close()
        if server is not None:
            loop.view.end()
            server.close()


@contextmanager
def ended_by_signal(loop: Loop) -> Iterator[None]:
    """SIGTERM ends the loop between two frames; then the process leaves with 143, the run incomplete.

    A drive that begins again has no other end: there Ctrl-C does so too, and the caller goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    asked: list[int] = []

    def handler(number: int, _frame: object) -> None:
        asked.append(number)
        loop.stop.set()
        if asked.count(signal.SIGINT) > 1:  # pressed again: do not wait for the answer under way
            raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGINT) if loop.source.loop else (signal.SIGTERM,)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    except UserError:
        if not asked:  # else: no frame was encoded because it was stopped before the first
            raise
    finally:
        for number, was in zip(numbers, before, strict=True):
            signal.signal(number, was)
    if asked and not loop.source.loop:
        raise SystemExit(STOPPED)


def summary(loop: Loop, config: DemoConfig) -> dict:
    """timing.json: rates, and p50, p95, p99 in ms per stage; what was left out is stated."""
    counts = loop.counts
    return {
        "mode": "realtime" if config.realtime else "in order",
        "frames": loop.source.count,
        "answered": counts.answered,
        "dropped": counts.dropped,
        "broken": counts.broken,
        "dropped_rate": counts.dropped / max(counts.answered + counts.dropped, 1),
        "deadline_ms": config.deadline_ms,
        "missed": counts.missed,
        "miss_rate": counts.missed / max(counts.answered, 1),
        "shown": counts.shown,
        "shown_without_advice": counts.without_advice,
        "warmup": f"{config.warmup_answers} answers before the clock started are not counted",
        "threads": config.threads,
        "machine": machine(),
        "stages_ms": loop.stages.summary(),
        "label_age_ms": quantiles(loop.ages_ms),
    }


def machine() -> dict:
    """What the milliseconds were measured on, and how busy it was: numbers from elsewhere do not compare."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def tell(run: Run, timing: dict, rows: int) -> None:
    """The few lines that a person reads."""
    run.log("timing", **timing)
    answer = timing["stages_ms"].get("answer", {"n": 0})
    if answer["n"]:
        run.say(
            f"answer p50 {answer['p50']} ms, p95 {answer['p95']}, p99 {answer['p99']} of {answer['n']} frames"
        )
    run.say(
        f"{timing['miss_rate']:.1%} of the answers missed {timing['deadline_ms']:g} ms; "
        f"{timing['dropped']} frames dropped, {timing['broken']} broken; {timing['warmup']}"
    )
    run.say(f"replay of the log: {rows} rows, the same advice")
