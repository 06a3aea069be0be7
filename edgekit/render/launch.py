"""Workers: started, fed one scene at a time, replaced, killed when stuck. Processes here, or Ray's elsewhere."""

import errno
import itertools
import json
import os
import queue
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.environments import clean_environ, python_of
from edgekit.core.errors import UserError

if TYPE_CHECKING:
    from edgekit.render.spread import RayWorkers

WORKER = Path(__file__).parent / "worker" / "main.py"
START_TIMEOUT_S = 120.0
CLAIM = "\0edgekit-render-core-"  # an abstract socket's name: no file, and gone with its process
TRIES = 2  # a scene that fails in a fresh process too is given up


def blender_python(asked: str) -> str:
    """The interpreter that has bpy: the recipe's, $EDGEKIT_BLENDER_PYTHON, or the side environment."""
    found = asked or os.environ.get("EDGEKIT_BLENDER_PYTHON", "")
    if not found:
        return str(python_of("blender"))
    if not os.access(found, os.X_OK):
        raise UserError(
            "render: there is no Blender environment",
            f"{found} is not an executable Python",
            "edgekit setup blender makes it; or name a Python that has bpy, OpenEXR and pillow in "
            "EDGEKIT_BLENDER_PYTHON",
        )
    return found


def bpy_version(python: str) -> str:
    """Asked of the environment's metadata, without importing bpy. Raises UserError when it is not there."""
    code = "from importlib.metadata import version as v; v('OpenEXR'); v('pillow'); print(v('bpy'))"
    try:
        asked = subprocess.run(
            [python, "-c", code], env=clean_environ(), capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:  # a folder, no program, one that hangs
        raise UserError(
            f"render: {python} does not run as a Python",
            str(error),
            "edgekit setup blender makes one; or mend blender_python or EDGEKIT_BLENDER_PYTHON",
        ) from None
    if asked.returncode:
        raise UserError(
            "render: the Blender environment is not complete",
            f"{python}: {(asked.stderr.strip().splitlines() or ['no answer'])[-1]}",
            "edgekit setup blender makes it again",
        )
    return asked.stdout.strip()


class Worker:
    """One Blender process, bound to one core: its denoiser would otherwise spin on all of them."""

    def __init__(self, python: str, script: Path, log: Path):
        core, self._claim = claim_core()
        self._log = open(log, "ab")
        command = [python, str(script), *(["--core", str(core)] if core is not None else [])]
        self.process = subprocess.Popen(
            command, env=clean_environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        self._lines = selectors.DefaultSelector()
        self._lines.register(self.process.stdout, selectors.EVENT_READ)
        self._partial = b""
        self.frames = 0

    def send(self, order: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """The next line, or None when the process died or stayed silent for too long."""
        until = time.monotonic() + timeout_s
        while b"\n" not in self._partial:
            if not self._lines.select(max(0.0, until - time.monotonic())):
                return None
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(1)  # its pipe closes a moment before its exit code is known
                return None
            self._partial += chunk
        line, _, self._partial = self._partial.partition(b"\n")
        return json.loads(line)

    def why_silent(self, timeout_s: float) -> str:
        """Why ``receive`` gave None."""
        code = self.process.poll()
        return f"no frame in {timeout_s:.0f} s" if code is None else f"the worker died with exit code {code}"

    def stop(self) -> None:
        """Killed, not asked: frames are written by rename, so nothing is lost but the one under way."""
        self.process.kill()
        self.process.wait()
        self._lines.close()
        with suppress(BrokenPipeError):  # an order that a dead worker did not take is flushed once more
            self.process.stdin.close()
        self.process.stdout.close()
        self._log.close()
        if self._claim:
            self._claim.close()


def claim_core() -> tuple[int | None, socket.socket | None]:
    """(a core with the fewest workers on it, what holds the claim until it is closed or its process ends).

    By names of the machine, so that two runs, or the actors of one, do not share a core while another idles.
    (None, None) where a process cannot be bound to a core.
    """
    if sys.platform != "linux":
        return None, None
    for turn in itertools.count():
        for core in sorted(os.sched_getaffinity(0)):
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"{CLAIM}{core}-{turn}")
                return core, claim
            except OSError as error:
                claim.close()
                if error.errno != errno.EADDRINUSE:
                    raise


def render_scenes(
    orders: Iterable[dict[str, Any]],
    python: str,
    workers: "int | RayWorkers",
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
        from edgekit.render.spread import cluster

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
