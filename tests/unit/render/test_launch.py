"""The launcher against a stand-in worker: crashes, silence, recycling. No Blender."""

import os
import sys
import textwrap

import pytest

from edgekit.render import blender, launch

STAND_IN = """
    import json, os, sys, time
    print(json.dumps({"event": "ready"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["spec"] == "silent":
            time.sleep(60)
        if order["spec"] == "crash" or (order["spec"] == "once" and not os.path.exists(order["out"])):
            open(order["out"], "w").close()
            os._exit(9)
        if order["spec"] == "bad":
            print(json.dumps({"event": "failed", "spec": "bad", "why": "ValueError: x"}), flush=True)
            continue
        if order["spec"] == "environment":
            print(json.dumps({"event": "failed", "why": os.environ.get("PYTHONPATH", "clean")}), flush=True)
            continue
        for index in order["frames"]:
            if order["spec"] == "half" and index == 2 and not os.path.exists(order["out"]):
                open(order["out"], "w").close()
                os._exit(9)
            print(json.dumps({"event": "frame", "index": index, "pid": os.getpid()}), flush=True)
        if order["spec"] == "last":
            os.close(0)
        print(json.dumps({"event": "scene"}), flush=True)
        if order["spec"] == "last":
            os._exit(0)
"""


@pytest.fixture
def go(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(STAND_IN))
    monkeypatch.setattr(launch, "WORKER", script)

    def run(specs, workers=1, recycle=100, allowed=10, timeout=5.0):
        lines = []
        orders = [{"spec": spec, "out": str(tmp_path / "mark"), "frames": [0, 1, 2]} for spec in specs]
        failed = launch.render_scenes(
            orders,
            sys.executable,
            workers,
            recycle,
            timeout,
            tmp_path / "log",
            lambda o, line: lines.append((o["spec"], line)),
            allowed,
        )
        return [(s, line["index"], line["pid"]) for s, line in lines if line["event"] == "frame"], failed

    return run


def test_every_frame_once(go):
    frames, failed = go(["a", "b", "c", "d"], workers=2)
    assert sorted(f[:2] for f in frames) == [(s, k) for s in "abcd" for k in range(3)]
    assert failed == []


def test_a_worker_is_replaced_after_its_frames(go):
    frames, _ = go(["a", "b", "c", "d"], recycle=6)
    pids = [pid for _, _, pid in frames]
    assert len(set(pids)) == 2
    assert pids == sorted(pids, key=pids.index)


def test_a_scene_that_crashes_twice_is_given_up_and_the_others_go_on(go):
    frames, failed = go(["a", "crash", "b"])
    assert {f[0] for f in frames} == {"a", "b"}
    assert [f["spec"] for f in failed] == ["crash"]
    assert "exit code 9" in failed[0]["why"]


def test_one_crash_is_forgiven(go):
    frames, failed = go(["once"])
    assert len(frames) == 3
    assert failed == []


def test_what_was_drawn_before_a_crash_is_not_drawn_again(go):
    frames, failed = go(["half"])
    assert [f[:2] for f in frames] == [("half", k) for k in range(3)]
    assert failed == []


def test_a_worker_that_ends_between_two_scenes_is_replaced(go):
    frames, failed = go(["last", "a"])
    assert [f[:2] for f in frames] == [(s, k) for s in ("last", "a") for k in range(3)]
    assert failed == []


def test_the_users_packages_stay_out_of_the_worker(go, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere/of/theirs")
    assert go(["environment"])[1][0]["why"] == "clean"


def test_what_the_worker_says_is_passed_on(go):
    assert go(["bad"])[1] == [{"spec": "bad", "why": "ValueError: x"}]


def test_silence_is_ended(go):
    _, failed = go(["silent"], timeout=0.4)
    assert "no frame in" in failed[0]["why"]


def test_more_failures_than_allowed_stop_the_run(go):
    frames, failed = go(["bad", "bad", "bad"], allowed=1)
    assert len(failed) == 2
    assert frames == []


@pytest.fixture
def cores(monkeypatch):
    """This test's own names for claims: other runs on the machine hold and free theirs."""
    if sys.platform != "linux":
        pytest.skip("processes are bound to cores on Linux alone")
    monkeypatch.setattr(blender, "CLAIM", f"{blender.CLAIM}{os.getpid()}-")
    return sorted(os.sched_getaffinity(0))


def test_each_core_is_claimed_once_before_one_is_claimed_twice(cores):
    claims = [blender.claim_core() for _ in cores * 2]
    assert [core for core, _ in claims] == cores * 2
    claims[-1][1].close()
    again = blender.claim_core()
    assert again[0] == cores[-1]
    for _, held in [*claims, again]:
        held.close()


def test_a_worker_gives_its_core_back(go, cores, tmp_path):
    workers = [blender.Worker(sys.executable, launch.WORKER, tmp_path / "log") for _ in range(2)]
    workers[1].stop()
    core, claim = blender.claim_core()
    assert core == cores[1 % len(cores)]
    claim.close()
    workers[0].stop()


def test_worker_and_toolkit_do_not_know_each_other():
    """Only the worker's folder imports bpy, and nothing in it imports edgekit."""
    package = launch.Path(launch.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text()
        if path.parent.name == "worker":
            assert "GPL-3.0-or-later" in text.splitlines()[0], path
            assert "import edgekit" not in text and "from edgekit" not in text, path
        else:
            assert "import bpy" not in text.replace("without importing bpy", ""), path
