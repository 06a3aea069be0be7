"""Scenes to workers: one scene at a time, a second try, workers replaced, killed when stuck."""

import itertools
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from edgekit.core.cluster import RayWorkers
from edgekit.render.blender import START_TIMEOUT_S, WORKER, Worker
from edgekit.render.spread import cluster

TRIES = 2  # a scene that fails in a fresh process too is given up


def render_scenes(
    orders: Iterable[dict[str, Any]],
    python: str,
    workers: int | RayWorkers,
    frames_per_worker: int,
    frame_timeout_s: float,
    log: Path,
    on_line: Callable[[dict[str, Any], dict[str, Any]], None],
    failures_allowed: int,
) -> list[dict[str, Any]]:
    """Renders every order ({"spec", "out", "frames"}); calls on_line(order, line) for each finished frame,
    from one thread at a time. Returns the failures; stops early when there are more than allowed. Orders are
    taken, in this thread, a few ahead of the workers: to make one may take a while.

    workers: so many processes of this machine, or actors of a Ray cluster (then raises UserError where
    Ray or a machine of it cannot serve).
    """
    orders = iter(orders)
    ahead = list(itertools.islice(orders, workers if isinstance(workers, int) else workers.ray))
    if not ahead:
        return []
    if isinstance(workers, int):
        own = nullcontext(lambda: Worker(python, WORKER, log))
    else:
        own = cluster(len(ahead), python, WORKER, log)
    orders = itertools.chain(ahead, orders)
    with own as start:
        return _serve_all(
            orders, start, len(ahead), frames_per_worker, frame_timeout_s, on_line, failures_allowed
        )


def _serve_all(orders, start, count, frames_per_worker, frame_timeout_s, on_line, failures_allowed):
    """One thread for each worker, which takes the next order when its worker has done one."""
    todo: queue.Queue = queue.Queue(maxsize=count)
    again: queue.SimpleQueue = queue.SimpleQueue()
    failed, lock, stop, given = [], threading.Lock(), threading.Event(), threading.Event()
    crashes: list[BaseException] = []

    def serve() -> None:
        worker = None
        try:
            while not stop.is_set():
                try:
                    order, attempt = again.get_nowait() if not again.empty() else todo.get(timeout=0.1)
                except queue.Empty:
                    if given.is_set() and todo.empty() and again.empty():
                        return
                    continue
                why, done = None, set()
                if worker is None or worker.frames >= frames_per_worker:
                    if worker:
                        worker.stop()
                    worker = None  # start() may raise
                    worker = start()
                    why = None if worker.receive(START_TIMEOUT_S) else "the worker did not start"
                why = why or _one_scene(worker, order, frame_timeout_s, lock, on_line, stop, done)
                if why is None:
                    continue
                worker.stop()
                worker = None
                left = [index for index in order["frames"] if index not in done]
                if not left:
                    continue
                if attempt < TRIES:
                    again.put((order | {"frames": left}, attempt + 1))
                    continue
                with lock:
                    failed.append({"spec": order["spec"], "why": why})
                    if len(failed) > failures_allowed:
                        stop.set()
        except BaseException as error:
            crashes.append(error)
            stop.set()
        finally:
            if worker:
                worker.stop()

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for order in orders:
            while not stop.is_set():
                with suppress(queue.Full):
                    todo.put((order, 1), timeout=0.5)
                    break
            if stop.is_set():
                break
        given.set()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(frame_timeout_s)
        raise
    if crashes:
        raise crashes[0]
    return failed


def _one_scene(worker, order, frame_timeout_s, lock, on_line, stop, done: set[int]) -> str | None:
    """None when the scene is done, else why not; done: takes the frames that are."""
    try:
        worker.send(order)
    except BrokenPipeError:
        return "the worker died"
    while not stop.is_set():
        line = worker.receive(frame_timeout_s)
        if line is None:
            return worker.why_silent(frame_timeout_s)
        if line["event"] == "failed":
            return line["why"]
        if line["event"] == "frame":
            worker.frames += 1
        with lock:
            on_line(order, line)
        if line["event"] == "frame":
            done.add(line["index"])
        if line["event"] == "scene":
            return None
    return None
