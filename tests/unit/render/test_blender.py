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

from edgekit.core.errors import GateError
from edgekit.core.label import SceneLabel
from edgekit.core.recipe import build
from edgekit.core.run import digest_tree, start
from edgekit.drives import open_drive
from edgekit.render import run as station
from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.run import render
from edgekit.render.spec import camera_of
from tests.unit.render.blender import NEEDS_BLENDER

RECIPE = {
    "scenes": 1,
    "seed": 11,
    "frames_per_scene": 3,
    "width": 336,
    "height": 196,
    "samples": 1,
    "workers": 1,
    "demand": {"duration_s": 240},
    "runs": 1,
    "ego": {"approach": 1.0, "stopped": 0, "turning": 0, "clear": 0, "approach_m": [5, 25]},
    "lights": {"red": 0.5, "yellow": 0, "green": 0.5, "off": 0, "none": 0},
    "roadworks": {"cones": 1.0, "barrier": 0, "stopped_vehicle": 0, "debris": 0},
    "passes": {"depth": True},
    "splits": {"train": 1.0},
}
STEP_M = {"red": 0.35, "yellow": 0.0, "green": -0.35}  # of a lens's centre above its head's
LENS_M = 0.15

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


def seen_heads(run):
    """(stem, head, its state, place in the camera (u, v, metres), ids, depth) of the heads that look at the camera,
    nearer than 40 m, with their lit lens in the picture and before nothing else."""
    for spec in scenes(run):
        lamps = [number for name, number in CLASSES.items() if name.startswith("lamp_")]
        for frame in spec["frames"]:
            ids = np.asarray(Image.open(run.out / f"ids/{frame['stem']}.png")).astype(int)
            depth = np.load(run.out / f"depth/{frame['stem']}.npz")["depth_m"].astype(float)
            camera = camera_of(spec, frame)
            for head in spec["heads"]:
                state = frame["heads"].get(head["id"])
                at_us = np.cos(head["yaw"] - frame["ego"]["yaw"]) < -0.99
                if not at_us or state not in STEP_M:
                    continue
                at = head["x"], head["y"], head["z"] + STEP_M[state]
                place = camera.project(at)
                if place is None or place[2] > 40 or not camera.inside(at, 12.0):
                    continue
                around = ids[int(place[1]) - 1 : int(place[1]) + 2, int(place[0]) - 1 : int(place[0]) + 2]
                if np.isin(around, [number * 1000 + head["instance"] for number in lamps]).any():
                    yield frame["stem"], head, state, place, ids, depth, camera.focal_px


def test_the_lit_lamp_is_where_geometry_says(run):
    seen = list(seen_heads(run))
    assert {state for _, _, state, *_ in seen} == {"red", "green"}
    for stem, head, state, (u, v, away), ids, depth, focal in seen:
        rows, columns = np.nonzero(ids == CLASSES[f"lamp_{state}"] * 1000 + head["instance"])
        assert abs(columns.mean() + 0.5 - u) < 1, stem
        assert abs(rows.mean() + 0.5 - v) < 1, stem
        assert depth[rows, columns].mean() == pytest.approx(away, abs=0.1)
        area = np.pi * (LENS_M * focal / away) ** 2
        assert 0.6 * area < len(rows) < 1.5 * area


def test_every_thing_s_mask_lies_in_its_box(run):
    rows = [json.loads(line) for line in (run.out / "truth.jsonl").read_text().splitlines()]
    things = [thing for row in rows for thing in row["things"] if thing["pixels"]]
    assert len(things) > 20 and {"car", "cone", "head"} <= {thing["class"] for thing in things}
    for thing in things:
        (u0, v0, u1, v1), (a0, b0, a1, b1) = thing["box"], thing["box_visible"]
        assert u0 - 1 <= a0 and v0 - 1 <= b0 and a1 <= u1 + 1 and b1 <= v1 + 1, thing["name"]


def test_ids_are_exact_classes_and_sky_has_no_distance(run):
    paths = list((run.out / "ids").iterdir())
    assert len(paths) == 3
    for path in paths:
        with Image.open(path) as image:
            assert image.mode.startswith("I")  # 16 bits, no palette
            ids = np.asarray(image).astype(int)
        assert set(np.unique(ids) // 1000) <= set(CLASSES.values())
        depth = np.load(run.out / f"depth/{path.stem}.npz")["depth_m"]
        assert np.isinf(depth[ids // 1000 == CLASSES["sky"]]).all()
        assert np.isfinite(depth[ids // 1000 != CLASSES["sky"]]).all()
        assert (ids // 1000 == CLASSES["cone"]).any()


def test_the_lit_lamp_has_its_colour(run):
    images = {path.stem: np.asarray(Image.open(path)).astype(int) for path in (run.out / "images").iterdir()}
    for stem, head, state, _, ids, *_ in seen_heads(run):
        lamp = images[stem][ids == CLASSES[f"lamp_{state}"] * 1000 + head["instance"]]
        red, green, _ = lamp.max(axis=0)
        assert (red > green + 80) if state == "red" else (green > red + 80)


def test_truth_is_a_label(run):
    rows = [json.loads(line) for line in (run.out / "truth.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    for truth in rows:
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


def test_a_scene_that_fails_is_left_out_and_too_many_are_too_many(tmp_path, monkeypatch):
    """A worker that cannot read the second of three scenes; two fifths of them may fail, or none."""

    def spoiled(orders):
        for order in orders:
            if "s000012" in order["spec"]:
                path = Path(order["spec"])
                path.write_text(path.read_text().replace("edgekit/scene/2", "edgekit/scene/1"))
            yield order

    draw = station.render_scenes
    monkeypatch.setattr(station, "render_scenes", lambda orders, *rest: draw(spoiled(orders), *rest))
    small = {"scenes": 3, "frames_per_scene": 1, "width": 112, "height": 56, "passes": {}}
    run = rendered(tmp_path / "some", **small, failed_scenes_max=0.4)
    assert {path.stem for path in (run.out / "images").iterdir()} == {"s000011_000", "s000013_000"}
    assert {path.stem for path in (run.out / "scenes").iterdir()} == {"s000011", "s000013"}
    assert "s000012" in (run.path / "manifest.json").read_text()
    with pytest.raises(GateError, match="1 of 3 scenes failed"):
        rendered(tmp_path / "none", **small, failed_scenes_max=0.0)


def test_a_drive_is_a_drive(tmp_path):
    """Three frames, 2 s apart, of one vehicle: its numbers, its pictures and its truth."""
    run = rendered(tmp_path / "d", mode="drive", frames_per_scene=3, fps=0.5)
    drive, (spec,) = open_drive(next((run.out / "drives").iterdir())), scenes(run)
    assert len(drive) == 3
    assert drive.info.fps == 0.5
    assert np.allclose(drive.telemetry.t_s, [0, 2, 4])
    assert np.allclose(drive.telemetry.speed_mps, [frame["speed_mps"] for frame in spec["frames"]])
    assert "yes" in {truth.label.crossroad for truth in drive.truth().values()}
    for number, truth in drive.truth().items():
        frame = spec["frames"][number]
        ids = np.asarray(Image.open(drive.root / f"ids/{number:06d}.png")).astype(int)
        assert (drive.root / f"frames/{number:06d}.jpg").read_bytes() == (
            run.out / f"images/{frame['stem']}.jpg"
        ).read_bytes()
        stop = frame["facts"]["stop_line_m"]
        assert truth.label.crossroad in ("unknown", "no" if stop is None or stop > 50 else "yes")
        assert truth.label.zebra != "yes" or (ids // 1000 == CLASSES["zebra"]).sum() >= 20
    assert next(iter(drive.frames())).shape == (196, 336, 3)
    assert {p.suffix for p in (drive.root / "depth").iterdir()} == {".npz"}
