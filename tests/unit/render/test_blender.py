"""With Blender: exact ids and depth where geometry says, the same pixels again, and a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.label import SceneLabel
from edgekit.core.recipe import build
from edgekit.core.run import digest_tree, start
from edgekit.dataset import open_dataset
from edgekit.drives import open_drive
from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.run import render
from edgekit.render.spec import camera_of
from tests.unit.render.blender import NEEDS_BLENDER

RECIPE = {
    "scenes": 1,
    "seed": 3,
    "frames_per_scene": 3,
    "width": 336,
    "height": 196,
    "samples": 1,
    "workers": 1,
    "shares": {
        "beyond": 0,
        "bare": 0,
        "red": 0.5,
        "yellow": 0,
        "green": 0.5,
        "off": 0,
        "cones": 1.0,
        "barrier": 0,
    },
    "passes": {"depth": True},
    "splits": {"train": 1.0},
}


pytestmark = NEEDS_BLENDER


def rendered(folder, **more):
    run = start("render", build(RenderConfig, {**RECIPE, **more}, "test"), "test", folder)
    render(run.config, run)
    run.finish()
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("render") / "a")


def scenes(run):
    for path in sorted((run.out / "scenes").glob("*.json")):
        yield json.loads(path.read_text())


def test_the_lit_lamp_is_where_geometry_says(run):
    for spec in scenes(run):
        for frame in spec["frames"]:
            ids = np.asarray(Image.open(run.out / f"ids/{frame['stem']}.png")).astype(int)
            depth = np.load(run.out / f"depth/{frame['stem']}.npz")["depth_m"]
            head = spec["junction"]["heads"][0]
            step = {"red": 1, "green": -1}[frame["light"]] * spec["junction"]["lens_gap_m"]
            camera = camera_of(spec, frame)
            u, v, away = camera.project((head["x"], head["y"], head["z"] + step))
            rows, columns = np.nonzero(ids == CLASSES[f"lamp_{frame['light']}"] * 1000 + 1)
            assert abs(columns.mean() + 0.5 - u) < 1
            assert abs(rows.mean() + 0.5 - v) < 1
            assert depth[rows, columns].mean() == pytest.approx(away, abs=0.1)
            area = np.pi / 4 * (spec["junction"]["lens_m"] * camera.focal_px / away) ** 2
            assert 0.6 * area < len(rows) < 1.5 * area


def test_ids_are_exact_classes_and_sky_has_no_distance(run):
    for path in (run.out / "ids").iterdir():
        with Image.open(path) as image:
            assert image.mode.startswith("I")  # 16 bits, no palette
            ids = np.asarray(image).astype(int)
        assert set(np.unique(ids) // 1000) <= set(CLASSES.values())
        depth = np.load(run.out / f"depth/{path.stem}.npz")["depth_m"]
        assert np.isinf(depth[ids // 1000 == CLASSES["sky"]]).all()
        assert (ids // 1000 == CLASSES["cone"]).any()


def test_the_lit_lamp_has_its_colour(run):
    data = open_dataset(run.out)
    seen = [row for row in data.rows("train") if row.tasks["light"].status == "kept"]
    assert seen  # a lamp of a few pixels is dropped at this size, not all are
    for row in seen:
        name = row.images[0].replace("images", "ids").replace("jpg", "png")
        ids = np.asarray(Image.open(run.out / name)).astype(int) // 1000
        lamp = data.image(row)[ids == CLASSES[f"lamp_{row.label.light}"]]
        red, green, _ = lamp.max(axis=0).astype(int)
        assert (red > green + 80) if row.label.light == "red" else (green > red + 80)


def test_truth_is_a_label(run):
    for line in (run.out / "truth.jsonl").read_text().splitlines():
        truth = json.loads(line)
        assert SceneLabel(**truth["label"]).cones == "yes"
        assert truth["pixels"]["cone"] > 20


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("launcher_only", [False, True])
def test_killed_in_the_middle_and_started_again_gives_the_same_files(run, tmp_path, launcher_only):
    """Killed after the first frame; RGB, ids, depth, tables: all as before.

    All processes at once, or the launcher alone: its worker does not outlive it for long.
    """
    recipe = tmp_path / "test.yaml"
    recipe.write_text(json.dumps(RECIPE))  # JSON is YAML
    out = tmp_path / "b"
    command = [sys.executable, "-m", "edgekit", "render", str(recipe), "--out", str(out)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while not list(out.glob("out/depth/*.npz")) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        if launcher_only:
            children = Path(f"/proc/{process.pid}/task").glob("*/children")
            workers = [pid for path in children for pid in path.read_text().split()]
            assert workers and all(map(lives, workers))
            process.kill()
            process.wait()
            until = time.monotonic() + 20
            while any(map(lives, workers)) and time.monotonic() < until:
                time.sleep(0.05)
            assert not any(map(lives, workers))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (out / "manifest.json").exists()
    first = {path: path.stat().st_mtime_ns for path in out.glob("out/depth/*.npz")}
    assert 0 < len(first) < 3
    rendered(out)
    assert all(path.stat().st_mtime_ns == then for path, then in first.items())  # not rendered twice
    assert digest_tree(out / "out") == digest_tree(run.out)


def test_a_drive_is_a_drive(tmp_path):
    """Three frames, 2 s apart: before the crossroad, and in it, where the far zebra is still ahead."""
    run = rendered(tmp_path / "d", mode="drive", frames_per_scene=3, fps=0.5, seed=34, shares={})
    drive = open_drive(next((run.out / "drives").iterdir()))
    assert len(drive) == 3
    assert drive.info.fps == 0.5
    assert np.allclose(drive.telemetry.t_s, [0, 2, 4])
    assert [drive.truth()[k].label.crossroad for k in range(3)] == ["yes", "yes", "no"]
    for number, truth in drive.truth().items():
        ids = np.asarray(Image.open(drive.root / f"ids/{number:06d}.png")).astype(int)
        assert truth.label.zebra == "yes" and (ids // 1000 == CLASSES["zebra"]).sum() > 20
    assert next(iter(drive.frames())).shape == (196, 336, 3)
    assert {p.suffix for p in (drive.root / "depth").iterdir()} == {".npz"}
