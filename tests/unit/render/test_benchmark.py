"""benchmarks/render.py: its arithmetic, and once with Blender over two tiny frames."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.render.blender import NEEDS_BLENDER

FOLDER = Path(__file__).parents[3] / "benchmarks"
SPIN = "import time\nwhile time.process_time() < 0.6: pass\ntime.sleep(0.6)"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    found = importlib.util.spec_from_file_location("benchmark_of_render", FOLDER / "render.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_a_frame_s_cost_is_split_without_loss(bench):
    run = {"cpu_s": 20.0, "frames": [1.0, 2.0, 3.0], "builds": [4.0, 5.0]}
    assert bench.parts(run, [4.0], 2) == {"cpu_s": 10.0, "start": 5.0, "build": 2.0, "render": 3.0}


def test_what_is_wanted_is_held_against_the_median(bench):
    most, least = bench.median_range([0.1, 0.151, 0.9]), bench.median_range([1.0, 2.0, 9.0])
    assert (least["median"], least["min"], least["max"], least["repeats"]) == (2.0, 1.0, 9.0, 3)
    assert "NOT met" in bench.met({"labels_share": most}, "labels_share")
    assert ": met" in bench.met({"naive_ratio": least}, "naive_ratio")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_that_nobody_waits_for_are_counted(bench):
    # the shell ends at once and leaves the spinning Python to init: no rusage of ours holds it
    with bench.ProcessTree() as left:
        code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SPIN!r}]); time.sleep(0.5)"
        subprocess.run([sys.executable, "-c", code], check=True)
        bench.time.sleep(2.5)
    with bench.ProcessTree() as idle:
        bench.time.sleep(0.6)
    assert left.cpu_s > 0.6 > idle.cpu_s


class TestWithBlender:
    pytestmark = NEEDS_BLENDER

    def test_quick(self, tmp_path):
        command = [sys.executable, str(FOLDER / "render.py"), "--quick", "--out", str(tmp_path / "out.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        report = json.loads((tmp_path / "out.json").read_text())
        (drive,) = report["drives"]
        assert drive["naive"]["build"]["median"] > drive["edgekit"]["build"]["median"] > 0
        assert drive["naive_ratio"]["median"] > 1
        assert report["labels"]["launcher_cpu_s"]["median"] > 0
        assert "| 112x56, 1 samples | naive, 1 frames |" in done.stdout and "A quick run" in done.stdout
