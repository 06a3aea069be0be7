"""With Blender: one small scene clear, in fog, in snow and against a low sun; the same but for the light."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from edgekit.core.files import write_text
from edgekit.core.recipe import build
from edgekit.render.blender import blender_python
from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.labels import truth_of
from edgekit.render.launch import render_scenes
from edgekit.render.records import files_of
from edgekit.render.spec import camera_of, sample_scene, spec_text
from tests.unit.render.blender import NEEDS_BLENDER

SEED = 2640  # a low sun in the open sky, and a fog of 47 m
GROUND_AND_WALLS = (("road", "sidewalk"), ("building", "window"))
HORIZON = (0.62, 0.64, 0.66)  # of fog by day, linear light: worker/studio.py


pytestmark = NEEDS_BLENDER


def spec_of(weather="clear", time="day"):
    asked = {
        "frames_per_scene": 1,
        "width": 168,
        "height": 112,
        "samples": 1,
        "passes": {"depth": weather != "snow"},  # the snow needs depth; it is written where it is asked for
        "weather": {weather: 1.0},
        "time": {time: 1.0},
        "demand": {"duration_s": 240},
        "runs": 1,
        "ego": {"approach": 1.0, "stopped": 0, "turning": 0, "clear": 0},
        "lights": {"red": 0.5, "yellow": 0, "green": 0.5, "off": 0, "none": 0},
        "roadworks": {"cones": 1.0, "barrier": 0, "stopped_vehicle": 0, "debris": 0},
    }
    return sample_scene(build(RenderConfig, asked, "test"), SEED)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """{name: (spec, image as float, ids, depth or None)}: all by one worker."""
    specs = {
        "clear": spec_of(),
        "fog": spec_of("fog"),
        "snow": spec_of("snow"),
        "sun": spec_of(time="low_sun"),
    }
    specs["still"] = spec_of("snow")
    del specs["still"]["conditions"]["effects"]["flakes"]
    specs["bare"] = json.loads(spec_text(specs["still"]))  # the same air, over bare ground
    specs["bare"]["conditions"]["weather"] = "fog"
    root, orders = tmp_path_factory.mktemp("conditions"), []
    for name, spec in specs.items():
        write_text(root / name / "scene.json", spec_text(spec))
        order = {
            "spec": str(root / name / "scene.json"),
            "out": str(root / name),
            "frames": [0],
            "models": "",
        }
        orders.append(order)
    failed = render_scenes(
        orders, blender_python(""), 1, 99, 120.0, root / "worker.log", lambda order, line: None, 0
    )
    assert failed == [], (root / "worker.log").read_text()
    found = {}
    for name, spec in specs.items():
        image, ids, *depth = files_of(root / name, spec, spec["frames"][0])
        away = np.load(depth[0])["depth_m"].astype(np.float32) if depth else None
        assert depth or not (root / name / "depth").exists()
        found[name] = (
            spec,
            np.asarray(Image.open(image)).astype(float),
            np.asarray(Image.open(ids)).astype(int),
            away,
        )
    return found


def on_screen(linear):
    return 255 * (1.055 * np.asarray(linear) ** (1 / 2.4) - 0.055)


def test_ids_and_depth_are_those_of_the_clear_scene(shots):
    _, _, ids, depth = shots["clear"]
    for name in ("fog", "snow", "sun"):
        assert np.array_equal(shots[name][2], ids)
    assert np.array_equal(shots["fog"][3], depth)


def test_labels_are_those_of_the_clear_scene_but_for_speed_and_sight(shots):
    truths = {}
    for name in ("clear", "fog", "snow", "sun"):
        spec, _, ids, _ = shots[name]
        truths[name] = truth_of(spec, spec["frames"][0], camera_of(spec, spec["frames"][0]), ids)
    speeds = {name: truth["label"].pop("recommended_speed_kmh") for name, truth in truths.items()}
    assert int(speeds["snow"]) <= 30 and speeds["sun"] == speeds["clear"]
    for truth in truths.values():
        assert truth["label"]["light"] != "none" and truth["label"]["cones"] == "yes"
        for key in ("label", "distances", "things", "pixels"):
            assert truth[key] == truths["clear"][key]


def test_the_far_is_fog_and_the_near_is_not(shots):
    spec, image, _, depth = shots["fog"]
    metres, air = spec["conditions"]["effects"]["visibility_m"], on_screen(HORIZON)
    off = np.abs(image - air).max(axis=-1)
    far, near = depth > 1.5 * metres, depth < 0.12 * metres
    assert far.sum() > 500 and near.sum() > 500
    assert np.percentile(off[far], 95) < 8  # JPEG, and edges
    assert np.median(off[near]) > 40
    assert np.median(np.abs(shots["clear"][1] - air).max(axis=-1)[far]) > 25  # it was something else


def test_snow_flies_and_lies_on_the_ground(shots):
    _, image, ids, _ = shots["snow"]
    flakes = image.mean(axis=-1) - shots["still"][1].mean(axis=-1)
    assert 0.004 < (flakes > 5).mean() < 0.3 and flakes.min() > -12  # JPEG rings around them
    brighter = (shots["still"][1] - shots["bare"][1]).mean(axis=-1)
    ground, wall = (np.isin(ids // 1000, [CLASSES[n] for n in names]) for names in GROUND_AND_WALLS)
    assert brighter[ground].mean() > brighter[wall].mean() + 15


def test_a_low_sun_stands_where_the_spec_has_it(shots):
    spec, image, ids, _ = shots["sun"]
    sky, camera = spec["conditions"]["sky"], camera_of(spec, spec["frames"][0])
    up, turn = math.radians(sky["sun_elevation_deg"]), math.radians(sky["sun_azimuth_deg"])
    level = 1e6 * math.cos(
        up
    )  # an azimuth of 180 degrees is ahead of one along +y, as the lamp's rotation has it
    x, y = camera.x + level * math.sin(turn), camera.y - level * math.cos(turn)
    u, v, _ = camera.project((x, y, camera.z + 1e6 * math.sin(up)))
    around = (slice(int(v) - 1, int(v) + 2), slice(int(u) - 1, int(u) + 2))
    assert (ids[around] // 1000 == CLASSES["sky"]).all()
    assert image[around].min() > 245
    assert image.mean(axis=-1)[ids // 1000 == CLASSES["sky"]].min() < 230  # and not all of the sky is white
    assert json.loads(spec_text(spec))["conditions"]["tags"] == ["low_sun"]
