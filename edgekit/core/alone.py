"""One writer to a run, and no writer that outlives who started it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.core.errors import UserError


@contextmanager
def alone(folder: Path, patience_s: float = 15.0) -> Iterator[None]:
    """Holds ``folder``/lock; the kernel drops it however the holder ends, so it is never stale.

    Waits a little, for one that was just killed takes a moment to end. Raises UserError after that.
    """
    with open(folder / "lock", "a+") as file:
        until = time.monotonic() + patience_s
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
            if time.monotonic() >= until:
                raise UserError(
                    f"{folder}: another process is writing this run",
                    f"process {holder} has not ended within {patience_s:g} s",
                    "let it finish or stop it, or choose another --out",
                )
            if not told:
                print(f"{folder}: waiting for process {holder}, which is writing it", file=sys.stderr)
                told = True
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def dies_with_parent() -> Callable[[], None]:
    """For Popen's preexec_fn: the child gets SIGTERM when its parent dies, even by SIGKILL (Linux)."""
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork
    return lambda: prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
