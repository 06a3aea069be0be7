"""SIGKILL at every joint of a road, and of the road itself: walked on, it ends in the same digests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.core.files import read_json

pytestmark = pytest.mark.onnx

ROAD = """\
steps:
  - name: quantize
    recipe: nano
    set: {{frames: 4, check_frames: 2, grid: 4}}
    reads: {{checkpoint: '{checkpoint}', calibration: '{data}'}}
  - name: export
    recipe: nano
    set: {{frames: 2, max_tokens: 24, accuracy_level: 4}}
    reads: {{checkpoint: quantize, golden: '{data}'}}
  - name: evaluate
    recipe: nano
    set: {{split: train, batch: 1, shuffles: 1}}
    row: bundle
    reads: {{model: export, dataset: '{data}'}}
"""


def walk(recipe: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "edgekit", "road", str(recipe), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def child_of(process: subprocess.Popen) -> int | None:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(found[0]) if found else None


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def begun(pid: int | None) -> bool:
    """Whether it is edgekit by now: a child holds the road's own command line until then."""
    return bool(pid) and b"evaluate" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Until ``path`` holds something."""
    until = time.monotonic() + 180
    while not (path.is_file() and path.stat().st_size):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.02)


def test_killed_at_every_step_and_walked_on_it_ends_in_the_same_digests(windowed, tmp_path):
    recipe = tmp_path / "killed.yaml"
    recipe.write_text(ROAD.format(**windowed))
    undisturbed = walk(recipe, tmp_path / "undisturbed")
    told = undisturbed.communicate()[1]
    assert undisturbed.returncode == 0, told

    out = tmp_path / "killed"
    steps = out / "steps"
    for half_done in (
        steps / "quantize" / "out" / "model.safetensors",
        steps / "export" / "state" / "bundle" / "vision.onnx",
        steps / "evaluate" / "state" / "answers.jsonl",
    ):
        road = walk(recipe, out)
        wait_for(half_done, road)
        os.kill(child_of(road), signal.SIGKILL)
        told = road.communicate()[1]
        step = half_done.relative_to(steps).parts[0]
        assert road.returncode == 1 and f"step {step} stopped" in told, told
        assert not (steps / step / "manifest.json").exists()

    road = walk(recipe, out)
    until = time.monotonic() + 60
    while not begun(orphan := child_of(road)):
        assert time.monotonic() < until and road.poll() is None, "the road began no step"
        time.sleep(0.02)
    road.kill()
    until = time.monotonic() + 20
    while not gone(orphan):
        assert time.monotonic() < until, "a killed road's step lives on"
        time.sleep(0.02)
    road.communicate()
    assert not (steps / "evaluate" / "manifest.json").exists(), "it ended by itself: nothing was shown"

    last = walk(recipe, out)
    told = last.communicate()[1]
    assert last.returncode == 0, told
    assert "quantize: already complete" in told and "export: already complete" in told

    def digests(root: Path) -> dict[str, str]:
        runs = {"road": root} | {p.name: p for p in (root / "steps").iterdir()}
        return {name: read_json(path / "manifest.json")["digest"] for name, path in runs.items()}

    assert digests(out) == digests(tmp_path / "undisturbed")
