"""What must hold for every label, whatever the seed; and what an ids image changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.label import SceneLabel
from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.labels import answerable, truth_of
from edgekit.render.spec import camera_of, sample_scene
from edgekit.render.town import zebra_bands

POSES = RenderConfig(frames_per_scene=6)
DRIVE = RenderConfig(mode="drive", frames_per_scene=30)


def truths(cfg, seed):
    spec = sample_scene(cfg, seed)
    return spec, [(frame, truth_of(spec, frame, camera_of(spec, frame))) for frame in spec["frames"]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_poses(seed):
    spec, frames = truths(POSES, seed)
    for frame, truth in frames:
        label = SceneLabel(**truth["label"])
        case = frame["case"]
        assert label.light == (case if case in ("red", "yellow", "green", "off") else "none")
        assert label.crossroad == ("no" if case == "beyond" else "yes")
        assert label.cones == ("yes" if frame["cones"] else "no")
        assert label.obstacle == ("barrier" if frame["barrier"] else "none")
        assert abs(frame["camera"]["y"] - spec["junction"]["stop_y"]) >= 1.5
        if label.light != "none":
            assert 6 <= truth["distances"]["head_m"] <= 19
            assert truth["lamp_px"] >= 6
        if label.cones == "yes":
            assert truth["cone_px"] >= 12
            assert any(box["class"] == "cone" for box in truth["boxes"])
        for box in truth["boxes"]:
            u0, v0, u1, v1 = box["box"]
            assert 0 <= u0 < u1 <= POSES.width
            assert 0 <= v0 < v1 <= POSES.height


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_drives(seed):
    spec, frames = truths(DRIVE, seed)
    ys = [frame["camera"]["y"] for frame, _ in frames]
    assert all(b >= a - 1e-6 for a, b in zip(ys, ys[1:], strict=False))  # never backwards
    for (frame, truth), y in zip(frames, ys, strict=True):
        passed = y >= spec["junction"]["stop_y"]
        assert truth["label"]["crossroad"] == ("no" if passed else "yes")
        if passed:
            assert truth["label"]["light"] == "none"
        assert -5 <= frame["accel_mps2"] <= 2 or frame["speed_mps"] + frame["accel_mps2"] / DRIVE.fps < 0.5
        assert frame["cones"] == spec["frames"][0]["cones"]  # fixed in the world
        if zebra_in_the_image(spec, frame):
            assert truth["label"]["zebra"] == "yes"
        if not spec["junction"]["zebra"] or y > spec["junction"]["far_y"] + 3.8:
            assert truth["label"]["zebra"] == "no"


def zebra_in_the_image(spec, frame):
    """Whether a point of a band is in the image and within the 50 m that a label speaks of."""
    camera = camera_of(spec, frame)
    return any(
        near - camera.y <= 50 and camera.inside((camera.x, near + (far - near) * k / 10, 0.0))
        for near, far in zebra_bands(spec["junction"])
        for k in range(11)
    )


@pytest.mark.parametrize("seed", range(40))
def test_nobody_runs_a_red_light(seed):
    spec, frames = truths(DRIVE, seed)
    stop = spec["junction"]["stop_y"]
    for (a, _), (b, _) in zip(frames, frames[1:], strict=False):
        if a["camera"]["y"] < stop <= b["camera"]["y"]:
            assert a["light"] != "red"


def one(case):
    for seed in range(200):
        spec = sample_scene(POSES, seed)
        for frame in spec["frames"]:
            if frame["case"] == case and frame["cones"]:
                return spec, frame
    raise AssertionError(case)


def ids_with(**pixels):
    ids = np.zeros(400 * 100, np.uint16)
    at = 0
    for name, count in pixels.items():
        ids[at : at + count] = CLASSES[name] * 1000 + 1
        at += count
    return ids.reshape(400, 100)


def test_a_lamp_that_cannot_be_seen_drops_light_and_speed_and_nothing_else():
    spec, frame = one("red")
    truth = truth_of(spec, frame, camera_of(spec, frame), ids_with(cone=500, barrier=500))
    assert truth["visible"] == {"speed": False, "light": False, "obstacles": True, "crossroad": True}
    assert truth["label"]["light"] == "red"
    label = SceneLabel(**answerable(truth))
    assert (label.light, label.recommended_speed_kmh, label.cones) == ("unknown", "unknown", "yes")


def test_cones_without_a_pixel_are_absent_and_the_speed_knows():
    spec, frame = one("beyond")
    frame = {**frame, "barrier": None}
    seen = truth_of(spec, frame, camera_of(spec, frame), ids_with(cone=500))
    gone = truth_of(spec, frame, camera_of(spec, frame), ids_with(road=500))
    assert (seen["label"]["cones"], gone["label"]["cones"]) == ("yes", "no")
    assert seen["label"]["recommended_speed_kmh"] == "30"
    assert gone["label"]["recommended_speed_kmh"] == str(
        spec["town"]["limit_kmh"]
        - 10 * (spec["conditions"]["weather"] == "rain" or spec["conditions"]["time"] == "night")
    )


def test_what_shows_no_pixel_leaves_no_box():
    spec, frame = next(
        (spec, frame)
        for spec in (sample_scene(POSES, seed) for seed in range(200))
        for frame in spec["frames"]
        if frame["cones"] and frame["barrier"]
    )
    classes = {}
    for name in ("cone", "barrier"):
        truth = truth_of(spec, frame, camera_of(spec, frame), ids_with(**{name: 500}))
        classes[name] = {box["class"] for box in truth["boxes"]} - {"head"}
        assert (truth["cone_px"] is None) == (name == "barrier")
    assert classes == {"cone": {"cone"}, "barrier": {"barrier"}}


def test_a_zebra_is_ahead_until_it_is_passed_and_only_where_it_shows():
    spec = next(s for s in (sample_scene(DRIVE, seed) for seed in range(2, 99, 8)) if s["junction"]["zebra"])
    (_, near_ends), (_, far_ends) = zebra_bands(spec["junction"])
    said = {}
    for y in (-55.0, -40.0, near_ends + 1, far_ends - 1, far_ends):
        frame = {**spec["frames"][0], "camera": {**spec["frames"][0]["camera"], "y": y}}
        camera = camera_of(spec, frame)
        said[y] = [
            truth_of(spec, frame, camera, ids)["label"]["zebra"]
            for ids in (None, ids_with(zebra=300), ids_with(road=300))
        ]
    assert said == {
        -55.0: ["no"] * 3,
        -40.0: ["yes", "yes", "no"],
        near_ends + 1: ["yes", "yes", "no"],
        far_ends - 1: ["yes", "yes", "no"],
        far_ends: ["no"] * 3,
    }


def test_a_few_cone_pixels_are_neither_yes_nor_no():
    spec, frame = one("green")
    truth = truth_of(spec, frame, camera_of(spec, frame), ids_with(cone=5, lamp_green=50, barrier=500))
    assert SceneLabel(**answerable(truth)).cones == "unknown"
