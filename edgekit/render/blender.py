"""The Blender environment, and one process of it that draws: started, spoken to by lines, stopped."""

import errno
import itertools
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgekit.core.environments import clean_environ, python_of
from edgekit.core.errors import UserError

WORKER = Path(__file__).parent / "worker" / "main.py"
START_TIMEOUT_S = 120.0
CLAIM = "\0edgekit-render-core-"  # an abstract socket's name: no file, and gone with its process


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
