"""Weather and camera on arrays: each effect against the law it follows. The worker's file, without Blender."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgekit.render
from edgekit.render.camera import Camera
from edgekit.render.conditions import extinction_per_m

PLAN = importlib.util.spec_from_file_location(
    "effects", Path(edgekit.render.__file__).parent / "worker" / "effects.py"
)
effects = importlib.util.module_from_spec(PLAN)
PLAN.loader.exec_module(effects)

HFOV, H, W, SKY = 60.0, 56, 84, 1e10
AIR = (0.5, 0.6, 0.7)


def picture(seed=0, height=H, width=W):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def depths(seed=1):
    depth = np.random.default_rng(seed).uniform(3, 60, (H, W)).astype(np.float32)
    depth[:15] = SKY
    return depth


STEPS = {
    "fog": lambda rgb, depth, much: effects.fog(rgb, depth, 0.05 * much, AIR),
    "snow": lambda rgb, depth, much: effects.snow(rgb, depth, HFOV, much, AIR, (1, 1)),
    "blur": lambda rgb, depth, much: effects.motion_blur(rgb, depth, HFOV, 0.4 * much, 0.01 * much),
    "glare": lambda rgb, depth, much: effects.glare(rgb, much),
    "dust": lambda rgb, depth, much: effects.dirt(rgb, much, (1, 2), False),
    "drops": lambda rgb, depth, much: effects.dirt(rgb, much, (1, 2), True),
    "vignette": lambda rgb, depth, much: effects.vignette(rgb, much, HFOV),
    "noise": lambda rgb, depth, much: effects.noise(rgb, 500 * much, 5, (1, 3)),
}


@pytest.mark.parametrize("name", STEPS)
def test_strength_0_is_nothing_and_more_is_something_and_what_came_in_stays(name):
    rgb, depth = picture(), depths()
    kept = rgb.copy(), depth.copy()
    assert np.array_equal(STEPS[name](rgb, depth, 0), rgb)
    out = STEPS[name](rgb, depth, 1)
    assert out.shape == rgb.shape and out.dtype == np.float32 and np.isfinite(out).all()
    assert np.abs(out - rgb).max() > 0.05
    assert np.array_equal(STEPS[name](rgb, depth, 1), out)  # the same seed, the same bytes
    assert np.array_equal(rgb, kept[0]) and np.array_equal(depth, kept[1])


@pytest.mark.parametrize("name", ["snow", "dust", "drops", "noise"])
def test_another_seed_is_another_picture(name):
    rgb, depth = picture(), depths()
    other = {
        "snow": lambda: effects.snow(rgb, depth, HFOV, 1, AIR, (2, 1)),
        "dust": lambda: effects.dirt(rgb, 1, (2, 2), False),
        "drops": lambda: effects.dirt(rgb, 1, (2, 2), True),
        "noise": lambda: effects.noise(rgb, 500, 5, (2, 3)),
    }[name]()
    assert not np.array_equal(STEPS[name](rgb, depth, 1), other)


@given(st.floats(10, 2000), st.floats(0, 1), st.floats(0, 1))
def test_fog_goes_from_the_object_to_the_air_and_two_hundredths_are_left_at_the_range(metres, light, air):
    distance = np.array([[0.0, metres / 4, metres / 2, metres, 2 * metres, np.inf]], np.float32)
    rgb = np.full((1, 6, 3), light, np.float32)
    out = effects.fog(rgb, distance, extinction_per_m(metres), (air,) * 3)[0, :, 0]
    assert out[0] == pytest.approx(light, abs=1e-6)
    assert out[-1] == pytest.approx(air, abs=1e-6)
    assert (np.diff(np.abs(out - air)) <= 1e-6).all()
    assert out[3] - air == pytest.approx(0.02 * (light - air), abs=2e-6)


@given(st.integers(0, W - 1), st.integers(0, H - 1), st.floats(0.5, 200))
def test_a_ray_is_as_long_as_the_way_to_its_point(column, row, depth):
    camera = Camera(W, H, HFOV, 0, 0, 0)
    across = (column + 0.5 - W / 2) * depth / camera.focal_px
    down = (row + 0.5 - H / 2) * depth / camera.focal_px
    point = (across, depth, -down)
    assert camera.project(point) == pytest.approx((column + 0.5, row + 0.5, depth))
    away = effects.ray_distance(np.full((H, W), depth, np.float32), HFOV)[row, column]
    assert away == pytest.approx(math.dist((0, 0, 0), point), rel=1e-5)


@pytest.mark.parametrize("light", [0.0, 0.02, 0.18, 1.0])
def test_noise_has_the_mean_and_the_variance_of_shots_and_reading(light):
    out = effects.noise(np.full((400, 400, 3), light, np.float32), 800, 5, (3, 3)).astype(np.float64)
    variance = light / 800 + (5 / 800) ** 2
    assert out.mean() == pytest.approx(light, abs=5 * math.sqrt(variance / out.size))
    assert out.var() == pytest.approx(variance, rel=0.02)


@given(st.integers(1, 40), st.integers(0, H - 1), st.integers(0, W - 1))
def test_spreading_keeps_the_light_and_makes_no_darkness(radius, row, column):
    rgb = np.zeros((H, W, 3), np.float32)
    rgb[row, column] = (1, 20, 300)
    out = effects.spread(rgb, radius)
    assert out.sum((0, 1), dtype=np.float64) == pytest.approx((1, 20, 300), rel=1e-4)
    assert out.min() > -1e-4
    if min(row, H - row, column, W - column) > 3 * radius + 1:
        spot = out[..., 2] / out[..., 2].sum()
        assert (spot * np.arange(W)).sum() == pytest.approx(column, abs=0.05)
        assert (spot * np.arange(H)[:, None]).sum() == pytest.approx(row, abs=0.05)
        width = (spot * (np.arange(W) - column) ** 2).sum()
        assert width == pytest.approx(((2 * radius + 1) ** 2 - 1) / 4, rel=0.02)  # of three boxes


def test_glare_comes_from_what_is_bright_and_lies_around_it():
    rgb = np.full((H, W, 3), 0.5, np.float32)
    assert np.array_equal(effects.glare(rgb, 1.0), rgb)
    rgb[20:23, 40:43] = 1.3
    added = effects.glare(rgb, 0.8) - rgb
    assert added.sum(dtype=np.float64) == pytest.approx(0.25 * 0.8 * effects.BOOST * 0.5 * 27, rel=1e-3)
    lamp = np.zeros((H, W, 3), np.float32)
    lamp[20:23, 40:43] = (1.3, 0.55, 0.0)
    halo = effects.glare(lamp, 0.8)[21, 46]
    assert halo[1] / halo[0] == pytest.approx(0.55 / 1.3, rel=1e-2) and halo[2] < 1e-6
    assert added[21, 41].min() > added[21, 48].max() > 1e-3 > added[21, 80].max() >= -1e-6


@pytest.mark.parametrize(
    ("ahead", "depth", "turned"),
    [(0.3, 2.0, 0), (0.3, 4.0, 0), (0.3, SKY, 0), (0, 5.0, 0.05), (0, SKY, -0.05)],
)
def test_motion_smears_by_the_flow_of_what_stands_still(ahead, depth, turned):
    """An edge, seen from the side: grey over as many pixels as a point of it moves across the image."""
    width, column = 840, 700
    focal, across = width / 2 / math.tan(math.radians(HFOV) / 2), column - width / 2
    edge = np.zeros((8, width, 3), np.float32)
    edge[:, column:] = 1
    out = effects.motion_blur(edge, np.full((8, width), depth, np.float32), HFOV, ahead, turned)[4, :, 0]
    flow = across * ahead / depth + abs(turned) * (focal + across**2 / focal)
    between_first_and_last = flow * (1 - 1 / effects.TAPS)
    assert ((out > 0) & (out < 1)).sum() == pytest.approx(between_first_and_last, abs=2)


@given(st.floats(0, 1), st.floats(-0.05, 0.05), st.integers(0, 99))
def test_blur_of_one_colour_is_that_colour_and_no_light_comes_from_nowhere(ahead, turned, seed):
    flat = np.full((H, W, 3), 0.3, np.float32)
    assert effects.motion_blur(flat, depths(seed), HFOV, ahead, turned) == pytest.approx(0.3, abs=1e-6)
    rgb = picture(seed)
    out = effects.motion_blur(rgb, depths(seed), HFOV, ahead, turned)
    assert rgb.min() - 1e-6 <= out.min() and out.max() <= rgb.max() + 1e-6
    assert out.mean() == pytest.approx(rgb.mean(), rel=0.05)


def test_flakes_fall_before_what_is_farther_than_they():
    rgb, before = np.zeros((H, W, 3), np.float32), None
    for away in (effects.NEAR_M / 2, 1.0, 3.0, 10.0, 100.0):
        out = effects.snow(rgb, np.full((H, W), away, np.float32), HFOV, 1.0, AIR, (4, 1))
        white = out[..., 0] > 0
        assert (out.max((0, 1)) <= effects.FLAKE_LIGHT * np.array(AIR) + 1e-6).all()
        if before is None:
            assert not white.any()
        else:
            assert (white | ~before).all() and white.sum() > before.sum()
        before = white
    wall = np.full((H, W), SKY, np.float32)
    wall[:, :40] = effects.NEAR_M / 2
    out = effects.snow(rgb, wall, HFOV, 1.0, AIR, (4, 1))
    assert not out[:, :40].any() and out[:, 40:].any()


def test_dirt_takes_light_and_a_drop_shows_the_scene_upside_down():
    rgb = picture(5)
    dust = effects.dirt(rgb, 1.0, (7, 2), False)
    assert dust.mean() < rgb.mean() - 0.01
    drops = effects.dirt(rgb, 1.0, (7, 2), True)
    assert rgb.min() - 1e-5 <= drops.min() and drops.max() <= rgb.max() + 1e-5
    assert drops.mean() == pytest.approx(rgb.mean(), rel=0.01)
    assert drops.std() < rgb.std() - 0.005
    sky = np.zeros((H, W, 3), np.float32)
    sky[: H // 2] = 1
    drops = effects.dirt(sky, 1.0, (7, 2), True)
    assert drops[-5:].max() > 0.5 and drops[:5].min() < 0.5


def test_vignette_is_the_fourth_power_of_the_cosine():
    out = effects.vignette(np.ones((H, W, 3), np.float32), 1.0, HFOV)
    focal = W / 2 / math.tan(math.radians(HFOV) / 2)
    angle = math.atan(math.hypot(W / 2 - 0.5, H / 2 - 0.5) / focal)
    assert out[0, 0, 0] == pytest.approx(math.cos(angle) ** 4, rel=1e-4)
    assert out[H // 2, W // 2, 0] == pytest.approx(1, abs=1e-3)
    assert effects.vignette(np.ones((H, W, 3), np.float32), 0.5, HFOV)[0, 0, 0] == pytest.approx(
        math.cos(angle) ** 2, rel=1e-4
    )


FRAME = {"seed": 11, "speed_mps": 8.0}
AIR_EFFECTS = {"extinction_per_m": 0.05, "flakes": 1.0, "exposure_s": 0.03}
LENS_EFFECTS = {"glare": 1.0, "dirt": 1.0, "vignette": 1.0, "white_e": 500.0, "read_e": 5}


@pytest.mark.parametrize("name", AIR_EFFECTS)
def test_what_is_asked_of_the_air_is_done(name):
    rgb, depth = picture(), depths()
    assert np.array_equal(effects.before(rgb, depth, {}, FRAME, HFOV, AIR), rgb)
    asked = {name: AIR_EFFECTS[name]}
    assert not np.array_equal(effects.before(rgb, depth, asked, FRAME, HFOV, AIR), rgb)


def test_fog_is_as_thick_as_the_way_through_it_is_long():
    rgb, depth = picture(), depths()
    there = effects.fog(rgb, effects.ray_distance(depth, HFOV), 0.05, AIR)
    assert np.array_equal(effects.before(rgb, depth, {"extinction_per_m": 0.05}, FRAME, HFOV, AIR), there)


@pytest.mark.parametrize("name", ["glare", "dirt", "vignette", "white_e"])
def test_what_is_asked_of_the_camera_is_done(name):
    rgb = picture()
    assert np.array_equal(effects.within(rgb, {}, FRAME, 1, HFOV, False), rgb)
    asked = {name: LENS_EFFECTS[name], "read_e": 5}
    once = effects.within(rgb, asked, FRAME, 1, HFOV, False)
    assert not np.array_equal(once, rgb)
    later = effects.within(rgb, asked, {**FRAME, "seed": 12}, 1, HFOV, False)
    assert np.array_equal(once, later) == (name != "white_e")  # dirt stays where it is, noise does not
