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
from typing import TextIO

from edgekit.core.errors import UserError


@contextmanager
def alone(folder: Path, patience_s: float = 15.0) -> Iterator[None]:
    """Holds ``folder``/lock; the kernel drops it however the holder ends, so it is never stale.

    Waits a little, for one that was just killed takes a moment to end. Raises UserError after that.
    """
    until, told = time.monotonic() + patience_s, False
    while True:
        with _opened(folder) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
            else:
                if _is_at(file, folder / "lock"):
                    file.truncate(0)
                    file.write(f"{os.getpid()}\n")
                    file.flush()
                    yield
                    return
                continue  # the folder was moved aside between the two: lock the new one
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


def _opened(folder: Path) -> TextIO:
    try:
        return open(folder / "lock", "a+")
    except FileNotFoundError:
        raise UserError(
            f"{folder}: this run is not there any more",
            "the process that held it was refused its inputs and took the folder away",
            "run the same command again",
        ) from None


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def dies_with_parent() -> Callable[[], None]:
    """For Popen's preexec_fn: the child gets SIGTERM when its parent dies, even by SIGKILL (Linux).

    To the kernel the parent is the *thread* that starts the child: start it from one that outlives it.
    """
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # looked up before the fork

    def ask() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before we asked: no signal will come
            os.kill(os.getpid(), signal.SIGTERM)

    return ask
