"""One writer to a run; and no orphan that goes on writing."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from edgekit.core.alone import alone, dies_with_parent
from edgekit.core.errors import UserError

HOLD = """
import pathlib, sys, time
from edgekit.core.alone import alone
with alone(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_refused_by_name(holder, tmp_path):
    with pytest.raises(UserError, match=f"process {holder.pid} has not ended"), alone(tmp_path, 0.3):
        pass


def test_a_killed_writer_leaves_no_lock_behind(holder, tmp_path, capsys):
    holder.send_signal(signal.SIGKILL)
    with alone(tmp_path, 5):
        assert (tmp_path / "lock").read_text().strip() == str(os.getpid())
    with alone(tmp_path, 0):
        pass


PARENT = """
import subprocess, sys, time
from edgekit.core.alone import dies_with_parent
child = subprocess.Popen(["sleep", "60"], preexec_fn=dies_with_parent())
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_does_not_outlive_a_killed_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not running(child)


def running(process: int) -> bool:
    """False also for one that is dead and that nobody has waited for."""
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_child_whose_parent_died_before_it_asked_ends_itself(monkeypatch):
    ask, asked = dies_with_parent(), []
    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setattr(os, "kill", lambda *what: asked.append(what))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("looked up after the fork"))
    process = os.fork()
    if process == 0:
        ask()
        os._exit(0 if asked == [(os.getpid(), signal.SIGTERM)] else 1)
    assert os.waitpid(process, 0)[1] == 0


def test_who_waits_for_a_run_that_is_moved_aside_locks_the_new_one(tmp_path):
    """What --force does: the folder moves, with the lock that others wait for."""
    place = tmp_path / "run"
    place.mkdir()
    held = []

    def wait():
        with alone(place, 20):
            held.append((place / "lock").read_text())

    with alone(place):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.5)
        place.rename(tmp_path / "aside")
        place.mkdir()
    waiting.join(20)
    assert held == [f"{os.getpid()}\n"] and (place / "lock").exists()


def test_who_waits_for_a_run_that_is_withdrawn_is_told(tmp_path):
    """What a refusal does: the folder goes, with the lock that others wait for."""
    place = tmp_path / "run"
    place.mkdir()
    said = []

    def wait():
        try:
            with alone(place, 20):
                said.append("held")
        except UserError as error:
            said.append(error.what)

    with alone(place):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.5)
        shutil.rmtree(place)
    waiting.join(20)
    assert said == [f"{place}: this run is not there any more"]
