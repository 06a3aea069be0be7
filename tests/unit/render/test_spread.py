"""Workers over Ray, against a stand-in worker: the same frames, failures and digests as local ones."""

import os
import signal
import socket
import sys
import textwrap
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekit.core import cluster
from edgekit.core.cluster import RayWorkers, worker_count
from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.core.run import digest_tree
from edgekit.render import launch, spread

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")

# Writes what an order asks for; the rest of its behaviour is in the order's "spec".
STAND_IN = """
    import json, os, signal, sys, time
    print(json.dumps({"event": "ready"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        name = os.path.basename(order["spec"])
        mark = order["spec"] + ".once"
        if name == "silent":
            time.sleep(60)
        if name == "crash":
            os._exit(9)
        if name == "orphan" or (name == "orphan-once" and not os.path.exists(mark)):
            open(mark, "w").close()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        if name == "bad":
            print(json.dumps({"event": "failed", "spec": name, "why": "ValueError: x"}), flush=True)
            continue
        os.makedirs(order["out"], exist_ok=True)
        for index in order["frames"]:
            with open(f"{order['out']}/{name}_{index}.txt", "w") as file:
                file.write(f"frame {index} of {name}")
            time.sleep(0.05)
            line = {"event": "frame", "index": index, "pid": os.getpid(), "parent": os.getppid()}
            print(json.dumps(line), flush=True)
        print(json.dumps({"event": "scene"}), flush=True)
"""


@pytest.fixture(scope="module")
def two_cores(tmp_path_factory):
    """One Ray of this machine for the whole file: cluster() goes in with one that is there."""
    log = tmp_path_factory.mktemp("ray") / "log"
    with spread.cluster(2, sys.executable, launch.WORKER, log):
        yield


@pytest.fixture
def go(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(STAND_IN))
    monkeypatch.setattr(launch, "WORKER", script)

    def run(names, workers, out="out", frames=(0, 1, 2), allowed=10, timeout=10.0, python=sys.executable):
        lines = []
        orders = [
            {"spec": str(tmp_path / name), "out": str(tmp_path / out), "frames": list(frames)}
            for name in names
        ]
        failed = launch.render_scenes(
            orders, python, workers, 100, timeout, tmp_path / "log", lambda o, line: lines.append(line), allowed
        )  # fmt: skip
        return [line for line in lines if line["event"] == "frame"], failed

    return run


@needs_ray
def test_every_frame_once_by_two_actors(go, two_cores, tmp_path):
    frames, failed = go("abcdef", RayWorkers(ray=2))
    assert failed == []
    assert len(frames) == 18
    assert len({frame["pid"] for frame in frames}) == 2
    assert len({frame["parent"] for frame in frames} - {os.getpid()}) == 2
    assert not list(tmp_path.glob(".shared*"))


@needs_ray
def test_number_and_kind_of_workers_do_not_change_the_digest(go, two_cores, tmp_path):
    for out, workers in (("one", 1), ("two", 2), ("ray", RayWorkers(ray=2))):
        assert go("abcd", workers, out)[1] == []
    go("ab", 2, "resumed", frames=[1])
    go("ab", RayWorkers(ray=2), "resumed", frames=[0, 2])
    go("cd", 1, "resumed")
    digests = {digest_tree(tmp_path / out) for out in ("one", "two", "ray", "resumed")}
    assert len(digests) == 1
    assert len(list((tmp_path / "ray").iterdir())) == 12


@needs_ray
def test_a_scene_that_crashes_twice_is_given_up_and_the_others_go_on(go, two_cores):
    frames, failed = go(["a", "crash", "b"], RayWorkers(ray=1))
    assert len(frames) == 6
    assert len(failed) == 1 and "exit code 9" in failed[0]["why"]


@needs_ray
def test_silence_is_ended_and_what_the_worker_says_is_passed_on(go, two_cores):
    _, failed = go(["silent", "bad"], RayWorkers(ray=2), timeout=0.4)
    assert sorted(f["why"] for f in failed) == ["ValueError: x", "no frame in 0 s"]


@needs_ray
def test_more_failures_than_allowed_stop_the_run(go, two_cores):
    assert len(go(["bad"] * 3, RayWorkers(ray=1), allowed=1)[1]) == 2


@needs_ray
def test_the_death_of_an_actor_is_forgiven_once_and_stdout_is_not_told(go, two_cores, capsys):
    frames, failed = go(["orphan-once", "a"], RayWorkers(ray=1))
    assert failed == []
    assert len(frames) == 6
    _, failed = go(["orphan"], RayWorkers(ray=1))
    assert "gone" in failed[0]["why"]
    time.sleep(1)  # Ray tells of it in its own time
    assert capsys.readouterr().out == ""


@needs_ray
def test_a_machine_that_does_not_see_what_it_needs_is_named(go, two_cores):
    with pytest.raises(UserError, match=r"does not see /nowhere/python") as caught:
        go("a", RayWorkers(ray=1), python="/nowhere/python")
    assert os.uname().nodename in caught.value.what


@needs_ray
def test_a_machine_that_does_not_see_the_run_is_named(go, two_cores, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "touch", lambda path: None)  # as if it were in another folder
    with pytest.raises(UserError, match="does not see the run's folder") as caught:
        go("a", RayWorkers(ray=1))
    assert str(tmp_path) in caught.value.why


@needs_ray
def test_more_workers_than_cores_are_refused(go, two_cores):
    with pytest.raises(UserError, match="3 Ray workers do not fit") as caught:
        go("abc", RayWorkers(ray=3))
    assert "2 cores" in caught.value.why


@needs_ray
def test_a_ray_of_ours_listens_on_the_loopback_alone(two_cores):
    ours = listening(os.getpid())
    assert len(ours) > 3  # the measure sees them
    assert {address for address in ours if not address.startswith(("127.", "::ffff:127.", "::1"))} == set()


@needs_ray
def test_sigterm_stays_with_the_command(monkeypatch):
    import ray

    def ours(*_):
        pass

    def init(**options):
        signal.signal(signal.SIGTERM, lambda *_: None)

    monkeypatch.setattr(ray, "init", init)
    before = signal.signal(signal.SIGTERM, ours)
    try:
        cluster._join(ray, "render", "local")
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


@needs_ray
def test_a_cluster_that_is_not_there_is_told(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **options: None)
    with socket.socket() as held:  # bound, and not listening
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no Ray cluster at {address}") as caught:
            cluster._join(ray, "render", address)
    assert "refused" in caught.value.why and "RAY_ADDRESS" in caught.value.do


def test_without_ray_one_is_told_what_to_install(go, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError) as caught:
        go("a", RayWorkers(ray=2))
    assert "edgekit[ray]" in caught.value.do and "workers=N" in caught.value.do


def test_nothing_to_do_joins_no_cluster(go, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert go([], RayWorkers(ray=2)) == ([], [])


def test_the_recipe_key():
    assert worker_count(build(RayWorkers, {"ray": 3}, "test")) == 3
    assert worker_count(2) == 2
    assert f"{RayWorkers(ray=8)} worker(s)" == "8 Ray worker(s)"
    with pytest.raises(UserError, match="greater than or equal to 1"):
        build(RayWorkers, {"ray": 0}, "test")
    with pytest.raises(UserError, match="unknown key"):
        build(RayWorkers, {"ray": 2, "dask": 2}, "test")


def listening(root: int) -> list[str]:
    """Addresses on which ``root`` and the processes below it listen for TCP."""
    psutil = pytest.importorskip("psutil")
    found = []
    for process in [psutil.Process(root), *psutil.Process(root).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            found += [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return found
