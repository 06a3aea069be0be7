"""One writer to a run; and no orphan that goes on writing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from edgekit.core.alone import alone
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
    while time.monotonic() < until and os.path.exists(f"/proc/{child}"):
        with open(f"/proc/{child}/stat") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] == "Z":  # dead, and nobody has waited for it
                break
        time.sleep(0.05)
    else:
        assert not os.path.exists(f"/proc/{child}"), "it still runs"
