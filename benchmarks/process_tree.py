"""CPU-seconds of this process and of all that it starts, however deep, dead or alive (Linux)."""

import os
import resource
import threading
import time
from pathlib import Path

EVERY_S = 0.25
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class ProcessTree:
    """``with ProcessTree() as tree: ...`` then ``tree.cpu_s``.

    The kernel's own account (rusage) is exact, but holds only children that were waited for, and Ray does
    not wait for all of its own; looking at /proc misses a process's last quarter of a second. Each can only
    miss, so the larger counts. The looking's own cost is taken off.
    """

    def __enter__(self) -> "ProcessTree":
        self._seen: dict[tuple[int, int], float] = {}  # (pid, its start) -> CPU-seconds
        self._old = {key for key, *_ in _processes()}
        self._begun, self._looking_s, self._end = _accounted(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        own, children = (after - before for before, after in zip(self._begun, _accounted(), strict=True))
        self.cpu_s = own - self._looking_s + max(children, sum(self._seen.values()))

    def _look(self) -> None:
        while not self._end.wait(EVERY_S):
            ours = {os.getpid()} | {pid for pid, _ in self._seen}
            fresh = [row for row in _processes() if row[0] not in self._old]
            for key, parent, cpu_s in sorted(fresh, key=lambda row: row[0][1]):  # parents are older
                if parent in ours or key in self._seen:
                    ours.add(key[0])
                    self._seen[key] = cpu_s
        self._looking_s = time.thread_time()


def _accounted() -> tuple[float, float]:
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, children = (u.ru_utime + u.ru_stime for u in usage)
    return own, children


def _processes() -> list[tuple[tuple[int, int], int, float]]:
    """((pid, start in ticks), parent's pid, CPU-seconds) of every process."""
    rows = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            cpu_s = (int(fields[11]) + int(fields[12])) * TICK_S
            rows.append(((int(entry.name), int(fields[19])), int(fields[1]), cpu_s))
    return rows
